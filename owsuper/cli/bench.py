"""``owsuper bench``: measures what owsuper does on this machine with this database.

What measures is imported only when it is asked for: no worker should pay for it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from owsuper import settings
from owsuper.cli.arguments import Command, add_settings, flags, typed_as
from owsuper.setting_types import duration, whole
from owsuper.supervisor.exit_status import ExitCode

_ABOUT = """\
measurements ({all} takes the last three as well):
{measurements}

It creates schemas bench_* and drops each after its measurement, also on Ctrl-C, and keeps the
server as busy as it can. So the role must be allowed to create schemas, and the server should
have nothing else to do, nor the machine. Without a database URL it is an embedded server in a
temporary directory. The table goes to standard output.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    from owsuper.bench.effort import FULL
    from owsuper.bench.suite import MEASUREMENTS

    add_settings(parser, ("database_url",))
    parser.add_argument(
        "measurements", nargs="*", metavar="MEASUREMENT", help="only these; see below"
    )
    parser.add_argument("--all", action="store_true", help="those that take long, too")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    add_sizes(parser, rows=FULL.rows, hold=FULL.hold)
    known = "\n".join(f"  {name:<11} {each.about}" for name, each in MEASUREMENTS.items())
    parser.epilog = _ABOUT.format(all="--all", measurements=known)


def add_sizes(parser: argparse.ArgumentParser, *, rows: int, hold: float) -> None:
    """Options for what takes long, with these sizes unless they are given."""
    shown = f"finished runs in the table of backlog, of which a tenth is due (default: {rows:,})"
    parser.add_argument("--rows", type=typed_as(whole(10_000, 1_000_000_000)), help=shown)
    shown = f"how long vacuum has a transaction held open (default: {hold:g}s)"
    span = typed_as(duration("1s", "1d"))
    parser.add_argument("--hold", type=span, metavar="DURATION", help=shown)


def _run(arguments: argparse.Namespace) -> int:
    from owsuper.bench import suite, table
    from owsuper.bench.effort import FULL, QUICK

    chosen = settings.load(flags(arguments))
    typed = vars(arguments)
    names = typed.get("measurements") or [
        name for name, each in suite.MEASUREMENTS.items() if "all" in typed or not each.large
    ]
    suite.check(names)
    sizes = {name: typed[name] for name in ("rows", "hold") if name in typed}
    effort = replace(QUICK if "quick" in typed else FULL, **sizes)
    session = suite.measure(chosen.database_url, names, effort, _say)
    print("\n".join(table.lines(session.machine, session.figures, session.limits)))
    return ExitCode.CLEAN


def _say(text: str) -> None:
    print(f"owsuper: {text}", file=sys.stderr, flush=True)


COMMAND = Command("Measure what owsuper does with this database", _add_options, _run)
