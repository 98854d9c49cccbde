"""``owsuper schedules ...``: list, show, create, pause, resume, trigger, backfill, delete."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from owsuper import OpenWorkflow, ScheduleStatus
from owsuper.cli import schedule_texts
from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import (
    add_common,
    add_full,
    client,
    json_argument,
    layout,
    moment_or,
    past,
    searched,
)
from owsuper.cli.formatting import plain
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.core.pages import PAGE_SIZE
from owsuper.core.schedules.spec import CATCH_UP, OVERLAP
from owsuper.errors import ConfigurationError, NotSerializable, ScheduleError
from owsuper.setting_types import duration, whole
from owsuper.supervisor.exit_status import ExitCode

_SHOWN_TICKS: Final = 10

# --- list, show ------------------------------------------------------------------------------


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=typed_as(whole(1, 1000)),
        metavar="N",
        help=f"at most N schedules (default: {PAGE_SIZE})",
    )
    parser.add_argument("--after", metavar="NAME", help="the next page: schedules after this name")
    add_full(parser)
    add_common(parser)


def _list(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    limit = typed.get("limit", PAGE_SIZE)
    with client(arguments) as ow:
        found = ow.schedules.list(after=typed.get("after"), limit=limit + 1)
    schedules = found[:limit]
    cursor = schedules[-1].name if len(found) > limit else None
    if "json" in typed:
        documents = [_document(each) for each in schedules]
        print_json({"schedules": documents, "next_cursor": cursor})
        return ExitCode.CLEAN
    if schedules:
        print_data("\n".join(schedule_texts.listing(schedules, layout(arguments))))
    else:
        print_message(f"there is no schedule ({searched(arguments)})")
    if cursor is not None:
        print_message(f"there are more: --after {shlex.quote(cursor)}")
    return ExitCode.CLEAN


def _add_show_options(parser: argparse.ArgumentParser) -> None:
    _add_name(parser)
    add_common(parser)


def _show(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        schedule = ow.schedules.get(arguments.name)
        ticks = ow.schedules.ticks(arguments.name, limit=_SHOWN_TICKS)
    if "json" in arguments:
        print_json({"schedule": _document(schedule), "ticks": [asdict(each) for each in ticks]})
    else:
        print_data("\n".join(schedule_texts.details(schedule, ticks)))
    return ExitCode.CLEAN


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name of the schedule")


def _document(schedule: ScheduleStatus) -> dict[str, Any]:
    """Return a schedule as JSON; lengths of time are seconds."""
    return asdict(schedule) | {
        "every": None if schedule.every is None else schedule.every.total_seconds(),
        "jitter": schedule.jitter.total_seconds(),
    }


# --- create ----------------------------------------------------------------------------------

_ABOUT_CREATING: Final = """\
The command knows only the name of the workflow, not its code. Without --input, the runs get the
tick: {"at": ..., "previous": ..., "schedule": NAME}. Making an equal schedule again has no effect.

examples:
  owsuper schedules create nightly --workflow report --cron '0 3 * * *' --timezone Europe/Berlin
  owsuper schedules create poll --workflow poll --every 15m --overlap skip --input '{"feed": 7}'
"""


def _add_create_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_name(parser)
    add("--workflow", metavar="NAME", required=True, help="the name of the workflow that it starts")
    add("--version", dest="of_version", metavar="V", help="the version of the workflow")
    add("--cron", metavar="TEXT", help="when: five fields, or @hourly, @daily, @weekly, @monthly")
    add(
        "--every",
        type=typed_as(duration("1s", "100y")),
        metavar="DURATION",
        help="when: every so often, such as 15m",
    )
    add("--timezone", metavar="NAME", help="the time zone of --cron (default: UTC)")
    add("--input", type=json_argument, metavar="JSON", help="the input; - reads standard input")
    add("--start", type=typed_as(_moment), metavar="TIME", help="no tick before this time")
    add("--end", type=typed_as(_moment), metavar="TIME", help="no tick at this time or later")
    add(
        "--jitter",
        type=typed_as(duration("0s", "1d")),
        metavar="DURATION",
        help="begin runs up to so long after their ticks",
    )
    add(
        "--catch-up",
        choices=CATCH_UP,
        help="which ticks have a run of those that nobody served (default: last)",
    )
    add(
        "--catch-up-limit",
        type=int,
        metavar="N",
        help="how many of them at most (default: 100)",
    )
    add(
        "--overlap",
        choices=OVERLAP,
        help="what to do at a tick while a run has not ended (default: allow)",
    )
    add("--paused", action="store_true", help="fire no ticks until it is resumed")
    add_common(parser)
    parser.epilog = _ABOUT_CREATING


def _moment(text: str) -> object:
    return moment_or(text, _no_duration, "an hour of another day")


def _no_duration(text: str) -> float:
    raise ConfigurationError(f"{text!r:.80} is no time")


def _create(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    given = ("every", "timezone", "input", "start", "end", "jitter", "catch_up")
    timing: dict[str, Any] = {
        name: typed[name] for name in (*given, "catch_up_limit", "overlap") if name in typed
    }
    with client(arguments) as ow:
        try:
            schedule = ow.schedules.create(
                arguments.name,
                arguments.workflow,
                typed.get("cron"),
                version=typed.get("of_version"),
                paused="paused" in typed,
                **timing,
            )
        except NotSerializable as error:
            raise ConfigurationError(f"--input: {error}") from None
    _print_schedules(arguments, [schedule], "created")
    return ExitCode.CLEAN


# --- pause, resume, delete -------------------------------------------------------------------


def _add_names_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="the names of the schedules")
    add_common(parser)


def _pause(arguments: argparse.Namespace) -> int:
    return _for_each(arguments, lambda ow, name: ow.schedules.pause(name), "paused")


def _resume(arguments: argparse.Namespace) -> int:
    return _for_each(arguments, lambda ow, name: ow.schedules.resume(name), "resumed")


def _delete(arguments: argparse.Namespace) -> int:
    return _for_each(arguments, lambda ow, name: ow.schedules.delete(name), "deleted")


def _for_each(
    arguments: argparse.Namespace, change: Callable[[OpenWorkflow, str], object], done: str
) -> int:
    """Apply ``change`` to each schedule, also after a refusal."""
    document: dict[str, Any] = {done: [], "refused": {}}
    with client(arguments) as ow:
        for name in dict.fromkeys(arguments.names):
            try:
                change(ow, name)
            except ScheduleError as error:
                document["refused"][name] = str(error)
                print_message(f"error: {error} ({searched(arguments)})")
            else:
                document[done].append(name)
                print_message(f"{done}: {plain(name)}")
    if "json" in arguments:
        print_json(document)
    return ExitCode.ERROR if document["refused"] else ExitCode.CLEAN


# --- trigger, backfill -----------------------------------------------------------------------


def _add_trigger_options(parser: argparse.ArgumentParser) -> None:
    _add_name(parser)
    add_common(parser)


def _trigger(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        run_id = ow.schedules.trigger(arguments.name).id
    if "json" in arguments:
        print_json({"id": run_id})
    else:
        print_data(run_id)
    return ExitCode.CLEAN


_ABOUT_BACKFILLING: Final = """\
Starts the runs of ticks that have none. Standard output: the ids of the runs.

examples:
  owsuper schedules backfill nightly --since 2026-03-01T00:00:00Z --until 2026-03-08T00:00:00Z
  owsuper schedules backfill poll --since 2h
"""


def _add_backfill_options(parser: argparse.ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument(
        "--since",
        type=typed_as(past),
        required=True,
        metavar="WHEN",
        help="the first tick: a time with its zone, or how long ago, such as 1d",
    )
    parser.add_argument(
        "--until",
        type=typed_as(past),
        metavar="WHEN",
        help="the end, itself left out, written as for --since (default: now)",
    )
    add_common(parser)
    parser.epilog = _ABOUT_BACKFILLING


def _backfill(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        handles = ow.schedules.backfill(
            arguments.name, since=arguments.since, until=vars(arguments).get("until")
        )
    ids = [handle.id for handle in handles]
    if "json" in arguments:
        print_json({"ids": ids})
    elif ids:
        print_data("\n".join(ids))
    print_message(f"runs started: {len(ids)}")
    return ExitCode.CLEAN


# --- the group of commands -------------------------------------------------------------------


def _print_schedules(
    arguments: argparse.Namespace, schedules: list[ScheduleStatus], done: str
) -> None:
    if "json" in arguments:
        print_json({"schedules": [_document(each) for each in schedules]})
        return
    for schedule in schedules:
        print_message(f"{done}: {plain(schedule.name)}: {schedule_texts.summary(schedule)}")


COMMANDS: Final[dict[str, Command]] = {
    "list": Command("List the schedules", _add_list_options, _list),
    "show": Command("Show a schedule and its latest ticks", _add_show_options, _show),
    "create": Command("Make a schedule", _add_create_options, _create),
    "pause": Command("Have schedules fire no ticks", _add_names_options, _pause),
    "resume": Command("Have paused schedules fire again", _add_names_options, _resume),
    "trigger": Command("Start a run of a schedule now", _add_trigger_options, _trigger),
    "backfill": Command("Start runs of past ticks", _add_backfill_options, _backfill),
    "delete": Command("Delete schedules", _add_names_options, _delete),
}


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="see below")
    lines = (f"  {name:<8} {command.summary}" for name, command in COMMANDS.items())
    parser.epilog = "\n".join(
        ["commands:", *lines, "  (owsuper schedules COMMAND --help says more)"],
    )


def _reject_late_command(arguments: argparse.Namespace) -> int:
    raise ConfigurationError(
        f"the command must follow at once: type owsuper schedules {arguments.command}"
        " (see owsuper schedules --help)"
    )


COMMAND = Command(
    "List, show, create, pause, resume, trigger, backfill and delete schedules",
    _add_group_options,
    _reject_late_command,
)
