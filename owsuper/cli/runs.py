"""``owsuper runs ...``: what there is, and doing something about it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from owsuper.cli import columns, documents, formatting, show
from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import add_common, add_timeout, opened, place, put_end, told
from owsuper.cli.output import put, put_json, say
from owsuper.core.model import RunStatus
from owsuper.core.pages import MOST_ITEMS
from owsuper.errors import ConfigurationError, RunError
from owsuper.setting_types import whole
from owsuper.supervisor.exit_status import ExitCode

# --- list ------------------------------------------------------------------------------------


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--status",
        choices=[status.value for status in RunStatus],
        metavar="STATUS",
        help="only those that are pending, running (which includes waiting), completed, failed or"
        " canceled",
    )
    parser.add_argument("--workflow", metavar="NAME", help="only those of this workflow")
    parser.add_argument(
        "--limit", type=typed_as(whole(1, 1000)), metavar="N", help="at most so many (default: 100)"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--after", metavar="CURSOR", help="the page that follows: older runs")
    place.add_argument("--before", metavar="CURSOR", help="the page that precedes: newer runs")
    add_common(parser)


def _list(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    names = ("status", "workflow", "limit", "after", "before")
    with opened(arguments) as ow:
        page = ow.list_runs(**{name: typed[name] for name in names if name in typed})
    if "json" in typed:
        document = {
            "runs": [documents.of(run) for run in page.items],
            "next_cursor": page.next_cursor,
            "previous_cursor": page.previous_cursor,
        }
        put_json(documents.encode(document))
        return ExitCode.CLEAN
    if page.items:
        put("\n".join(show.listing(page.items, formatting.now())))
    else:
        say(f"no such runs ({place(arguments)})")
    if page.next_cursor:
        say(f"there are older ones: --after {page.next_cursor}")
    if page.previous_cursor:
        say(f"there are newer ones: --before {page.previous_cursor}")
    return ExitCode.CLEAN


# --- show ------------------------------------------------------------------------------------


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the id of the run")


def _add_show_options(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    add_common(parser)


def _show(arguments: argparse.Namespace) -> int:
    with opened(arguments) as ow:
        run = ow.get_run(arguments.id).details()
        page = ow.list_step_attempts(run.id, limit=MOST_ITEMS)
        steps = [*page.items]
        while page.next_cursor:
            page = ow.list_step_attempts(run.id, limit=MOST_ITEMS, after=page.next_cursor)
            steps += page.items
    if "json" in arguments:
        document = {"run": documents.of(run), "steps": [documents.of(step) for step in steps]}
        put_json(documents.encode(document))
    else:
        put("\n".join(show.everything(run, steps, formatting.now())))
    return ExitCode.CLEAN


# --- cancel, retry ---------------------------------------------------------------------------


def _add_ids_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+", help="the ids of the runs")
    add_common(parser)


def _each(method: str, done: str) -> Callable[[argparse.Namespace], int]:
    """A command that does one thing to each run, whatever becomes of the others."""

    def run(arguments: argparse.Namespace) -> int:
        document: dict[str, Any] = {done: [], "refused": {}}
        with opened(arguments) as ow:
            for run_id in dict.fromkeys(arguments.ids):
                try:
                    getattr(ow, method)(run_id)
                except RunError as error:
                    document["refused"][run_id] = told(error, arguments)
                    say(f"error: {told(error, arguments)}")
                else:
                    document[done].append(run_id)
                    say(f"{done}: {run_id}")
        if "json" in arguments:
            put_json(documents.encode(document))
        return ExitCode.ERROR if document["refused"] else ExitCode.CLEAN

    return run


# --- wait, count -----------------------------------------------------------------------------


def _add_wait_options(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    add_timeout(parser)
    add_common(parser)


def _wait(arguments: argparse.Namespace) -> int:
    with opened(arguments) as ow:
        put_end(ow.get_run(arguments.id), arguments)
    return ExitCode.CLEAN


def _count(arguments: argparse.Namespace) -> int:
    with opened(arguments) as ow:
        counts = ow.count_runs()
    if "json" in arguments:
        put_json(documents.encode(documents.of_counts(counts)))
    else:
        put("\n".join(columns.table(documents.of_counts(counts).items(), right=(1,))))
    return ExitCode.CLEAN


# --- all of them -----------------------------------------------------------------------------

COMMANDS: Final[dict[str, Command]] = {
    "list": Command("List runs, the newest first", _add_list_options, _list),
    "show": Command("Show a run and the steps that it took", _add_show_options, _show),
    "cancel": Command("End runs as canceled", _add_ids_options, _each("cancel_run", "canceled")),
    "retry": Command(
        "Put failed runs back, to go on where they failed",
        _add_ids_options,
        _each("retry_run", "retried"),
    ),
    "wait": Command("Wait for a run to end, and print its result", _add_wait_options, _wait),
    "count": Command("Count the runs of each status", add_common, _count),
}


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="see below")
    lines = (f"  {name:<8} {command.summary}" for name, command in COMMANDS.items())
    parser.epilog = "\n".join(
        ["commands:", *lines, "  (owsuper runs COMMAND --help says more)"],
    )


def _no_command(arguments: argparse.Namespace) -> int:
    raise ConfigurationError(
        f"say it at once: owsuper runs {arguments.command} (see owsuper runs --help)"
    )


COMMAND = Command("List, show, cancel, retry and wait for runs", _add_group_options, _no_command)
