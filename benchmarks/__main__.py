"""Takes the measurements and prints their table.

RESULTS.md keeps the table of a full run of everything, if the machine had nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import replace

from benchmarks import results, suite, table, targets
from benchmarks.peers.session import measure_all
from benchmarks.results import RESULTS
from benchmarks.sizes import FULL, QUICK
from benchmarks.suite import MEASUREMENTS, Session
from owsuper import OwsuperError
from owsuper.cli import exit_code
from owsuper.cli.arguments import Parser, typed_as
from owsuper.setting_types import duration, whole


def main() -> int:
    """Run the command. Returns the exit code."""
    try:
        typed = vars(_parser().parse(sys.argv[1:]))
        names = typed.get("measurements") or list(MEASUREMENTS)
        suite.check(names)
        chosen = {name: typed[name] for name in ("rows", "hold") if name in typed}
        sizes = replace(QUICK if "quick" in typed else FULL, **chosen)
        session = suite.measure(os.environ.get("OWSUPER_DATABASE_URL"), names, sizes, _report)
        text = "\n".join(_lines(session))
        peers = measure_all("quick" in typed, _report) if "peers" in typed else None
    except OwsuperError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130
    print(text if peers is None else f"{text}\n\n{peers}")
    if "quick" not in typed and not chosen and set(names) == set(MEASUREMENTS):
        _keep(session, text, peers)
    return 0


def _lines(session: Session) -> Iterable[str]:
    columns = {"target": targets.text, "met": targets.met}
    yield from table.lines(session.machine, session.figures, session.limits, columns)


def _keep(session: Session, text: str, peers: str | None) -> None:
    if session.machine.warnings:
        _report(f"{RESULTS.name} is left as it was")
        return
    results.keep(ours=text, peers=peers)
    _report(f"kept in {RESULTS}")


def _parser() -> Parser:
    known = "\n".join(f"  {name:<11} {each.about}" for name, each in MEASUREMENTS.items())
    parser = Parser(
        "python -m benchmarks",
        description="Measure owsuper on this machine, beside what the database itself can do. "
        "The server is that of OWSUPER_DATABASE_URL, or an embedded one in a temporary directory. "
        f"A full run on an idle machine is kept in {RESULTS.parent.name}/{RESULTS.name}.",
        epilog=f"measurements:\n{known}",
    )
    parser.add_argument(
        "measurements", nargs="*", metavar="MEASUREMENT", help="only these; see below"
    )
    parser.add_argument("--quick", action="store_true", help="only check that it works")
    parser.add_argument("--peers", action="store_true", help="then measure other engines, too")
    _add_sizes(parser)
    return parser


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        type=typed_as(whole(10_000, 1_000_000_000)),
        help=f"finished runs in the table of backlog, a tenth if due (default: {FULL.rows:,})",
    )
    parser.add_argument(
        "--hold",
        type=typed_as(duration("1s", "1d")),
        metavar="DURATION",
        help=f"how long vacuum has a transaction held open (default: {FULL.hold:g}s)",
    )


def _report(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
