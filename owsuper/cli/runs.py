"""``owsuper runs ...``: list, show, count, cancel, retry and wait for runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from owsuper import RunHandle
from owsuper.cli import show
from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import (
    add_common,
    add_timeout,
    client,
    explain,
    print_result,
    searched,
)
from owsuper.cli.formatting import now, table
from owsuper.cli.output import (
    document_of,
    document_of_counts,
    print_data,
    print_json,
    print_message,
)
from owsuper.core.model import RunStatus
from owsuper.core.pages import MAX_PAGE_SIZE
from owsuper.errors import ConfigurationError, RunError
from owsuper.setting_types import whole
from owsuper.supervisor.exit_status import ExitCode

# --- list ------------------------------------------------------------------------------------


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--status",
        choices=[status.value for status in RunStatus],
        metavar="STATUS",
        help="only runs that are pending, running (which includes waiting), completed, failed or"
        " canceled",
    )
    parser.add_argument("--workflow", metavar="NAME", help="only runs of this workflow")
    parser.add_argument(
        "--limit", type=typed_as(whole(1, 1000)), metavar="N", help="at most N runs (default: 100)"
    )
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--after", metavar="CURSOR", help="the next page: older runs")
    page.add_argument("--before", metavar="CURSOR", help="the previous page: newer runs")
    add_common(parser)


def _list(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    names = ("status", "workflow", "limit", "after", "before")
    with client(arguments) as ow:
        page = ow.list_runs(**{name: typed[name] for name in names if name in typed})
    if "json" in typed:
        print_json(
            {
                "runs": [document_of(run) for run in page.items],
                "next_cursor": page.next_cursor,
                "previous_cursor": page.previous_cursor,
            }
        )
        return ExitCode.CLEAN
    if page.items:
        print_data("\n".join(show.listing(page.items, now())))
    else:
        print_message(f"no such runs ({searched(arguments)})")
    if page.next_cursor:
        print_message(f"there are older ones: --after {page.next_cursor}")
    if page.previous_cursor:
        print_message(f"there are newer ones: --before {page.previous_cursor}")
    return ExitCode.CLEAN


# --- show ------------------------------------------------------------------------------------


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the id of the run")


def _add_show_options(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    add_common(parser)


def _show(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        run = ow.get_run(arguments.id).details()
        page = ow.list_step_attempts(run.id, limit=MAX_PAGE_SIZE)
        steps = [*page.items]
        while page.next_cursor:
            page = ow.list_step_attempts(run.id, limit=MAX_PAGE_SIZE, after=page.next_cursor)
            steps += page.items
    if "json" in arguments:
        print_json({"run": document_of(run), "steps": [document_of(step) for step in steps]})
    else:
        print_data("\n".join(show.details(run, steps, now())))
    return ExitCode.CLEAN


# --- cancel, retry ---------------------------------------------------------------------------


def _add_ids_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+", help="the ids of the runs")
    add_common(parser)


def _for_each_run(
    change: Callable[[RunHandle[Any]], None], done: str
) -> Callable[[argparse.Namespace], int]:
    """Return a command that applies ``change`` to each run, also after a refusal."""

    def run(arguments: argparse.Namespace) -> int:
        document: dict[str, Any] = {done: [], "refused": {}}
        with client(arguments) as ow:
            for run_id in dict.fromkeys(arguments.ids):
                try:
                    change(ow.get_run(run_id))
                except RunError as error:
                    reason = explain(error, arguments)
                    document["refused"][run_id] = reason
                    print_message(f"error: {reason}")
                else:
                    document[done].append(run_id)
                    print_message(f"{done}: {run_id}")
        if "json" in arguments:
            print_json(document)
        return ExitCode.ERROR if document["refused"] else ExitCode.CLEAN

    return run


# --- wait, count -----------------------------------------------------------------------------


def _add_wait_options(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    add_timeout(parser)
    add_common(parser)


def _wait(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        print_result(ow.get_run(arguments.id), arguments)
    return ExitCode.CLEAN


def _count(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        counts = document_of_counts(ow.count_runs())
    if "json" in arguments:
        print_json(counts)
    else:
        print_data("\n".join(table(counts.items(), right=(1,))))
    return ExitCode.CLEAN


# --- the group of commands -------------------------------------------------------------------

_cancel = _for_each_run(lambda handle: handle.cancel(), "canceled")
_retry = _for_each_run(lambda handle: handle.retry(), "retried")

COMMANDS: Final[dict[str, Command]] = {
    "list": Command("List runs, the newest first", _add_list_options, _list),
    "show": Command("Show a run and its steps", _add_show_options, _show),
    "cancel": Command("Cancel runs", _add_ids_options, _cancel),
    "retry": Command("Retry failed runs from the failed step", _add_ids_options, _retry),
    "wait": Command("Wait for a run to end, and print its result", _add_wait_options, _wait),
    "count": Command("Count the runs of each status", add_common, _count),
}


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="see below")
    lines = (f"  {name:<8} {command.summary}" for name, command in COMMANDS.items())
    parser.epilog = "\n".join(
        ["commands:", *lines, "  (owsuper runs COMMAND --help says more)"],
    )


def _reject_late_command(arguments: argparse.Namespace) -> int:
    raise ConfigurationError(
        f"the command must follow at once: type owsuper runs {arguments.command}"
        " (see owsuper runs --help)"
    )


COMMAND = Command(
    "List, show, cancel, retry and wait for runs", _add_group_options, _reject_late_command
)
