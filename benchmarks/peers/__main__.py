"""``python -m benchmarks.peers``: measures owsuper and its peers, interleaved, in one session."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import results
from benchmarks.peers import installing, records, report, session
from benchmarks.peers.installing import PeerError
from benchmarks.peers.records import Record
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.workloads import FULL, QUICK
from benchmarks.server import server
from owsuper import OwsuperError


def main() -> int:
    options = _options()
    peers = [peer for peer in PEERS if _wanted(peer, options.peer)]
    if options.install:
        return _install(peers)
    try:
        kept = list(records.load(options.table) if options.table else _measure(options, peers))
    except (OwsuperError, OSError, ValueError) as error:
        print(f"peers: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    text = "\n".join(report.lines(kept))
    print(text)
    if options.keep:
        results.keep(peers=text)
    return 0


def _measure(options: argparse.Namespace, peers: Sequence[Peer]) -> Iterator[Record]:
    sizes = QUICK if options.quick else FULL
    chosen = {"repetitions": options.repetitions, "limit": options.limit}
    sizes = replace(sizes, **{name: each for name, each in chosen.items() if each is not None})
    with server(os.environ.get(session.URL)) as given:
        for record in session.measure(given, peers, options.only, sizes, _log):
            if options.json:
                with options.json.open("a", encoding="utf-8") as file:
                    file.write(records.dump(record) + "\n")
            yield record


def _install(peers: Sequence[Peer]) -> int:
    failed = 0
    for peer in peers:
        try:
            installing.install(peer)
            _log(f"{peer.title}: {'installed' if peer.packages else 'is this checkout'}")
        except PeerError as error:
            failed += 1
            _log(f"{peer.title}: {error}")
    return 1 if failed else 0


def _wanted(peer: Peer, names: Sequence[str] | None) -> bool:
    return not names or any(name.lower() in peer.title.lower() for name in names)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Measure owsuper and its peers on this machine, in turn. The server is that of "
        f"{session.URL}, or an embedded one in a temporary directory. Peers that are not "
        "installed are skipped.",
    )
    parser.add_argument("--install", action="store_true", help="install the peers, and do no more")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument(
        "--peer", action="append", metavar="NAME", help="only those with this in their name"
    )
    parser.add_argument("--only", nargs="+", choices=session.WORKLOADS, default=session.WORKLOADS)
    parser.add_argument("--repetitions", type=int, metavar="N", help=f"{FULL.repetitions}")
    parser.add_argument(
        "--limit", type=float, metavar="SECONDS", help=f"of recovery, {FULL.limit:.0f}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the records to this file")
    parser.add_argument(
        "--table", type=Path, nargs="+", metavar="FILE", help="print these records, and do no more"
    )
    parser.add_argument(
        "--keep", action="store_true", help=f"put the table into {results.RESULTS.name} as well"
    )
    options = parser.parse_args()
    if not any(_wanted(peer, options.peer) for peer in PEERS):
        parser.error(f"no such peer; there are {', '.join(peer.name for peer in PEERS)}")
    return options


def _log(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
