"""``owsuper workflows ...``: list, pause and resume workflows."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Final

from owsuper import PausedWorkflow, WorkflowStatus
from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, add_full, client, layout, searched
from owsuper.cli.formatting import plain, printable
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.cli.tables import Column, fitted
from owsuper.client.worker_texts import listed, place
from owsuper.errors import ConfigurationError
from owsuper.supervisor.exit_status import ExitCode

_ABOUT_PAUSES: Final = """\
No worker of the namespace claims runs of a paused workflow, on any host and after restarts, until
it is resumed. Runs that are being executed go on. Workers of OpenWorkflow for TypeScript do not
know of pauses.

examples:
  owsuper workflows pause report --reason 'the printer is broken'
  owsuper workflows resume report
"""


def _add_names_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="the names of the workflows")
    add_common(parser)
    parser.epilog = _ABOUT_PAUSES


def _add_pause_options(parser: argparse.ArgumentParser) -> None:
    _add_names_options(parser)
    parser.add_argument("--reason", metavar="TEXT", help="why, for others to read")


def _pause(arguments: argparse.Namespace) -> int:
    paused = []
    with client(arguments) as ow:
        for name in dict.fromkeys(arguments.names):
            paused.append(ow.pause_workflow(name, reason=vars(arguments).get("reason")))
            print_message(f"paused: {printable(name)}")
    if "json" in arguments:
        print_json({"paused": [asdict(pause) for pause in paused]})
    return ExitCode.CLEAN


def _resume(arguments: argparse.Namespace) -> int:
    resumed = []
    with client(arguments) as ow:
        for name in dict.fromkeys(arguments.names):
            pause = ow.resume_workflow(name)
            if pause is None:
                print_message(f"was not paused: {printable(name)}")
            else:
                resumed.append(pause)
                print_message(f"resumed: {printable(name)}")
    if "json" in arguments:
        print_json({"resumed": [asdict(pause) for pause in resumed]})
    return ExitCode.CLEAN


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    add_full(parser)
    add_common(parser)


def _list(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        found = ow.list_workflows()
    if "json" in arguments:
        print_json({"workflows": [asdict(workflow) for workflow in found]})
    elif found:
        print_data("\n".join(_table(found, arguments)))
    else:
        print_message(
            f"no connected worker serves a workflow, and none is paused ({searched(arguments)})"
        )
    return ExitCode.CLEAN


def _table(found: list[WorkflowStatus], arguments: argparse.Namespace) -> list[str]:
    cells = {
        "WORKFLOW": [plain(each.name, None) for each in found],
        "VERSIONS": [listed([version or "-" for version in each.versions]) for each in found],
        "SERVED BY": [listed([place(worker) for worker in each.workers]) for each in found],
        "PAUSED": ["" if each.pause is None else describe(each.pause) for each in found],
    }
    columns = [
        Column(heading=heading, cells=[plain(text, None) for text in texts], rank=rank, least=10)
        for rank, (heading, texts) in zip((1, 4, 3, 2), cells.items(), strict=True)
    ]
    where = layout(arguments)
    return fitted(columns, None if where.full else where.width)


def describe(pause: PausedWorkflow) -> str:
    """Return since when, by whom and why."""
    by = "" if pause.by is None else f" by {pause.by}"
    why = "" if pause.reason is None else f": {pause.reason}"
    return f"since {pause.since:%Y-%m-%d %H:%M}{by}{why}"


COMMANDS: Final[dict[str, Command]] = {
    "list": Command("List workflows that are served or paused", _add_list_options, _list),
    "pause": Command("Let no worker claim runs of workflows", _add_pause_options, _pause),
    "resume": Command("Let workers claim runs again", _add_names_options, _resume),
}


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="see below")
    lines = (f"  {name:<8} {command.summary}" for name, command in COMMANDS.items())
    parser.epilog = "\n".join(
        ["commands:", *lines, "  (owsuper workflows COMMAND --help says more)"],
    )


def _reject_late_command(arguments: argparse.Namespace) -> int:
    raise ConfigurationError(
        f"the command must follow at once: type owsuper workflows {arguments.command}"
        " (see owsuper workflows --help)"
    )


COMMAND = Command("List, pause and resume workflows", _add_group_options, _reject_late_command)
