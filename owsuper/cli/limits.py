"""``owsuper limits ...``: list and show limits, and change their amounts at run time."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Final

from owsuper import LimitStatus
from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import add_common, client, searched
from owsuper.cli.formatting import moment, printable, span
from owsuper.cli.output import print_data, print_json, print_message, terminal_width
from owsuper.cli.tables import Column, fitted, table
from owsuper.core.limits import MOST
from owsuper.db.limit_reads import MOST_COUNTED
from owsuper.errors import ConfigurationError
from owsuper.setting_types import whole
from owsuper.supervisor.exit_status import ExitCode

_ABOUT_LIST: Final = f"""\
Workers store the limits of their workflows as they start, and those of steps when a step first
uses one. "held" are the runs that have a place, and "waiting" the runs and steps that wait; both
counts end at {MOST_COUNTED}.
"""
_ABOUT_SET: Final = """\
The amount holds at once, on all hosts, and after deploys, until owsuper limits reset. Runs that
have a place keep it.

examples:
  owsuper limits set mail 5
"""
_RANKS: Final = (1, 2, 4, 3, 5)  # of the columns


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name of the limit")
    add_common(parser)


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.epilog = _ABOUT_LIST


def _add_set_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name of the limit")
    parser.add_argument(
        "amount", type=typed_as(whole(1, MOST)), metavar="AMOUNT", help="a whole number from 1"
    )
    add_common(parser)
    parser.epilog = _ABOUT_SET


def _list(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        limits = ow.list_limits()
    if "json" in arguments:
        documents = [asdict(limit) for limit in limits]
        for each in documents:
            del each["keys"]
        print_json({"limits": documents})
    elif not limits:
        print_message(f"no limits ({searched(arguments)})")
    else:
        rows = [
            (
                each.name,
                _amount(each),
                _count(each.held) if each.kind == "concurrency" else "-",
                _count(each.waiting),
                ", ".join(each.workflows),
            )
            for each in limits
        ]
        headings = ("limit", "amount", "held", "waiting", "workflows")
        columns = [
            Column(heading=heading, cells=[printable(cell) for cell in cells], rank=rank, least=8)
            for rank, heading, cells in zip(_RANKS, headings, zip(*rows, strict=True), strict=True)
        ]
        for line in fitted(columns, terminal_width()):
            print_data(line)
    return ExitCode.CLEAN


def _show(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        _print(ow.get_limit(arguments.name), arguments)
    return ExitCode.CLEAN


def _set(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        _print(ow.set_limit(arguments.name, arguments.amount), arguments)
    return ExitCode.CLEAN


def _reset(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        _print(ow.reset_limit(arguments.name), arguments)
    return ExitCode.CLEAN


def _print(limit: LimitStatus, arguments: argparse.Namespace) -> None:
    if "json" in arguments:
        print_json(asdict(limit))
        return
    facts = [
        ("limit", printable(limit.name)),
        ("amount", _amount(limit)),
        ("workflows", printable(", ".join(limit.workflows))),
    ]
    if limit.keyed:
        facts.append(("key", printable(limit.key or "computed by the code that starts a run")))
    if limit.kind == "concurrency":
        facts.append(("held", _count(limit.held)))
    facts.append(("waiting", _count(limit.waiting)))
    print_data("\n".join(table(facts)))
    if limit.keyed and limit.keys:
        rows = [
            (
                printable(each.key),
                _count(each.held),
                _count(each.waiting),
                "" if each.since is None else moment(each.since),
            )
            for each in limit.keys
        ]
        print_data("")
        print_data("\n".join(table([("key", "held", "waiting", "since"), *rows], right=(1, 2))))


def _amount(limit: LimitStatus) -> str:
    text = str(limit.amount)
    if limit.period is not None:
        text += f" per {span(limit.period)}"
        if limit.burst is not None and limit.burst > 1:
            text += f", bursts of {limit.burst}"
    else:
        text += " at once"
    if limit.keyed:
        text += " for each key"
    if limit.amount != limit.declared_amount:
        text += f" (the code says {limit.declared_amount})"
    return text


def _count(number: int) -> str:
    return f"{number} or more" if number >= MOST_COUNTED else str(number)


COMMANDS: Final[dict[str, Command]] = {
    "list": Command("List the limits of workflows and steps", _add_list_options, _list),
    "show": Command("Show a limit, and what waits for each key", _add_name, _show),
    "set": Command("Change the amount of a limit, on all hosts", _add_set_options, _set),
    "reset": Command("Give a limit the amount of the code again", _add_name, _reset),
}


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="see below")
    lines = (f"  {name:<8} {command.summary}" for name, command in COMMANDS.items())
    parser.epilog = "\n".join(
        ["commands:", *lines, "  (owsuper limits COMMAND --help says more)"],
    )


def _reject_late_command(arguments: argparse.Namespace) -> int:
    raise ConfigurationError(
        f"the command must follow at once: type owsuper limits {arguments.command}"
        " (see owsuper limits --help)"
    )


COMMAND = Command(
    "List, show, set and reset limits of workflows and steps",
    _add_group_options,
    _reject_late_command,
)
