"""``owsuper runs cancel`` and ``owsuper runs retry`` of all runs that match filters."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from owsuper import ChangedRuns
from owsuper.cli.arguments import typed_as
from owsuper.cli.client_command import (
    add_attributes,
    attributes_of,
    client,
    find,
    past,
)
from owsuper.cli.formatting import now, printable
from owsuper.cli.output import print_json, print_message
from owsuper.cli.question import agreed, must_ask
from owsuper.client import many_runs
from owsuper.client.many_runs import Work
from owsuper.db.dashboard.run_lists import RunCount, RunSearch
from owsuper.errors import ConfigurationError
from owsuper.supervisor.exit_status import ExitCode

_FILTERS: Final = ("status", "workflow", "version", "parent", "crashed", "since", "until", "all")
_NAMES: Final = {"of_status": "status", "of_version": "version", "everything": "all"}
_PERIOD: Final = 1.0  # seconds between two lines of progress


def add_filters(parser: argparse.ArgumentParser, statuses: tuple[str, ...]) -> None:
    """Add the filters that stand in place of ids, and ``--yes``."""
    group = parser.add_argument_group("in place of ids, filters, which hold together")
    group.add_argument(
        "--status", dest="of_status", choices=statuses, metavar="STATUS", help=" or ".join(statuses)
    )
    group.add_argument("--workflow", metavar="NAME", help="runs of this workflow")
    group.add_argument("--version", dest="of_version", metavar="V", help="runs of this version")
    add_attributes(group, "runs with this attribute; may be given more than once")
    group.add_argument("--parent", metavar="ID", help="child runs of this run")
    group.add_argument(
        "--crashed",
        action="store_true",
        help="runs that were given up because they kept killing their process",
    )
    for option, side in (("--since", "at this time or later"), ("--until", "before this time")):
        group.add_argument(
            option,
            type=typed_as(past),
            metavar="WHEN",
            help=f"runs created {side}: a time with its zone, or how long ago, such as 1h",
        )
    group.add_argument(
        "--all", dest="everything", action="store_true", help="all runs of the namespace"
    )
    group.add_argument("--after", metavar="CURSOR", help="go on where an earlier call was ended")
    group.add_argument("--yes", action="store_true", help="do not ask")


def has_filters(arguments: argparse.Namespace) -> bool:
    """Whether filters were typed in place of ids. Raises ConfigurationError for both or neither."""
    typed = vars(arguments)
    names = {"attribute", "after", "yes", *_FILTERS, *_NAMES}
    given = sorted(names & typed.keys())
    ids = typed.get("ids", [])
    if ids and given:
        raise ConfigurationError("pass ids of runs or filters, not both")
    if not ids and not given:
        raise ConfigurationError("pass the ids of runs, or filters such as --workflow and --since")
    return not ids


def change(
    arguments: argparse.Namespace,
    verb: str,
    done: str,
    wanted_by: Callable[..., RunSearch],
    work: Work,
) -> int:
    """Ask, and do the work for all runs that match. Returns the exit code."""
    typed = vars(arguments)
    filters: dict[str, Any] = {
        _NAMES.get(name, name): value
        for name, value in typed.items()
        if _NAMES.get(name, name) in _FILTERS
    }
    if "attribute" in typed:
        filters["attributes"] = attributes_of(arguments)
    wanted_by(**filters)  # refused before anybody is asked
    ask = must_ask(arguments, f"pass --yes to {verb} many runs")
    with client(arguments) as ow:
        if "parent" in filters:
            filters["parent"] = find(ow, filters["parent"]).id
        wanted = wanted_by(**filters)
        session = ow._database.session()
        if ask:
            wanted = _created_so_far(wanted)  # others may come while somebody thinks
            question = _question(many_runs.count(session, wanted), verb)
            if question is None or not agreed(question, arguments):
                print_message(f"nothing was {done}")
                return ExitCode.CLEAN
        progress = _Reporter(done)
        try:
            changed = many_runs.change(
                session, wanted, work, after=typed.get("after"), on_progress=progress
            )
        except BaseException:
            if progress.last.cursor is not None:
                print_message(f"to go on: --after {progress.last.cursor}")
            raise
    _report(changed, done, as_json="json" in typed)
    return ExitCode.ERROR if changed.refused else ExitCode.CLEAN


class _Reporter:
    """Says once a second what has been done, on a terminal; remembers where to go on."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._next = time.monotonic() + _PERIOD
        self.last = ChangedRuns()

    def __call__(self, so_far: ChangedRuns) -> None:
        """Take what has been done so far."""
        self.last = so_far
        if sys.stderr.isatty() and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PERIOD
            print_message(f"{self._done} so far: {so_far.changed:,}")


def _created_so_far(wanted: RunSearch) -> RunSearch:
    until = now() if wanted.created_until is None else min(now(), wanted.created_until)
    return replace(wanted, created_until=until)


def _question(count: RunCount, verb: str) -> str | None:
    """Return what to ask; None if no run matches."""
    if not count.counted and count.read_all:
        return None
    more = "" if count.read_all else "+"
    runs = "run" if count.counted == 1 and not more else "runs"
    return f"{verb.capitalize()} {count.counted:,}{more} {runs}"


def _report(changed: ChangedRuns, done: str, *, as_json: bool) -> None:
    for run_id, reason in changed.reasons.items():
        print_message(f"refused: {printable(run_id)}: {printable(reason)}")
    if len(changed.reasons) < changed.refused:
        print_message(f"and {changed.refused - len(changed.reasons):,} more refused")
    if as_json:
        document = asdict(changed)
        print_json({done: document.pop("changed"), **document})
    else:
        print_message(f"{done}: {changed.changed:,} {'run' if changed.changed == 1 else 'runs'}")
