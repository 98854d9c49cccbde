"""``owsuper runs skip-undo``: leave out an undo of a run, because it is done by hand."""

from __future__ import annotations

import argparse
from typing import Final

from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, add_id, client, find
from owsuper.cli.formatting import printable
from owsuper.cli.output import print_json, print_message
from owsuper.supervisor.exit_status import ExitCode

_ABOUT: Final = """\
ID is the failed run that undoes another (owsuper runs list --workflow undo:order --status failed).
The undo of STEP, a step of the other run, is left out, and the run goes on with the other undos.
Who did this and why is shown with the run.

example:
  owsuper runs skip-undo 0198c2e4 charge --reason 'refunded by phone'
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("step", metavar="STEP", help="the step that is undone by hand")
    parser.add_argument("--reason", metavar="TEXT", help="why, for others to read")
    add_common(parser)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    step: str = arguments.step
    with client(arguments) as ow:
        run = find(ow, arguments.id, to_change=True)
        run.skip_undo(step, reason=vars(arguments).get("reason"))
    if "json" in arguments:
        print_json({"id": run.id, "skipped": step})
    else:
        print_message(f"skipped the undo of {printable(step)}; retried: {printable(run.id)}")
    return ExitCode.CLEAN


COMMAND: Final = Command("Leave out an undo that was done by hand", _add_options, _run)
