"""Measures all that ``owsuper bench`` can, prints the table, and keeps it in RESULTS.md if it
was everything, in full, on a machine that had nothing else to do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace

from benchmarks import asked, results
from benchmarks.peers.session import beside
from benchmarks.results import RESULTS
from owsuper import OwsuperError
from owsuper.bench import suite, table
from owsuper.bench.effort import FULL, QUICK
from owsuper.bench.suite import MEASUREMENTS, Session
from owsuper.cli import exit_code
from owsuper.cli.arguments import Parser
from owsuper.cli.bench import add_sizes


def main() -> int:
    try:
        typed = vars(_parser().parse(sys.argv[1:]))
        names = typed.get("measurements") or list(MEASUREMENTS)
        suite.check(names)
        sizes = {name: typed[name] for name in ("rows", "hold") if name in typed}
        effort = replace(QUICK if "quick" in typed else FULL, **sizes)
        session = suite.measure(os.environ.get("OWSUPER_DATABASE_URL"), names, effort, _say)
        text = "\n".join(_lines(session))
        peers = beside("quick" in typed, _say) if "peers" in typed else None
    except OwsuperError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130
    print(text if peers is None else f"{text}\n\n{peers}")
    if "quick" not in typed and not sizes and set(names) == set(MEASUREMENTS):
        _keep(session, text, peers)
    return 0


def _lines(session: Session) -> Iterable[str]:
    columns = {"asked": asked.text, "met": asked.met}
    yield from table.lines(session.machine, session.figures, session.limits, columns)


def _keep(session: Session, text: str, peers: str | None) -> None:
    if session.machine.warnings:
        _say(f"{RESULTS.name} is left as it was")
        return
    results.keep(ours=text, peers=peers)
    _say(f"kept in {RESULTS}")


def _parser() -> Parser:
    parser = Parser(
        "python -m benchmarks",
        description="Measure owsuper on this machine, beside what the database itself can do. "
        "The server is that of OWSUPER_DATABASE_URL, or an embedded one in a temporary directory. "
        f"A full run on an idle machine is kept in {RESULTS.parent.name}/{RESULTS.name}.",
    )
    parser.add_argument(
        "measurements",
        nargs="*",
        metavar="MEASUREMENT",
        help=f"only these, of {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--peers", action="store_true", help="and then others, beside ours")
    add_sizes(parser, rows=FULL.rows, hold=FULL.hold)
    return parser


def _say(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
