"""``owsuper runs export``: the histories of runs, to replay them where the database is not."""

from __future__ import annotations

import argparse

from owsuper.cli import recorded
from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common_settings, client
from owsuper.cli.output import print_data, print_message
from owsuper.supervisor.exit_status import ExitCode

_ABOUT = """\
Prints one line of JSON for each run: the run, its steps, and the inputs of its child runs. The
lines have all inputs and results of the runs, so keep them where these may be kept.

examples:
  owsuper runs export --since 30d > histories.jsonl
  owsuper replay --module app.workflows --histories histories.jsonl
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    recorded.add_filters(parser)
    add_common_settings(parser)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    from owsuper.testing.exported import encode
    from owsuper.testing.histories import Histories

    count = 0
    with client(arguments) as ow:
        histories = Histories(ow)
        for history in recorded.chosen(histories, arguments):
            print_data(encode(history, histories.read_input))
            count += 1
    print_message(f"exported {recorded.runs(count)}")
    return ExitCode.CLEAN


COMMAND = Command("Print the histories of runs, for owsuper replay", _add_options, _run)
