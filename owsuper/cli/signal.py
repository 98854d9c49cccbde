"""``owsuper signal``: send a signal to the runs that wait for it."""

from __future__ import annotations

import argparse

from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, client, json_argument
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.errors import ConfigurationError, NotSerializable
from owsuper.supervisor.exit_status import ExitCode

_ABOUT = """\
A signal that no run waits for is dropped, unless --buffer keeps it for the first run that waits.

Standard output: the ids of the runs that the signal reached, one on each line.

examples:
  owsuper signal expense-7 --data '{"by": "Ada", "approved": true}' --buffer
  owsuper signal deploy-finished --key deploy:2026-03-01
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the signal")
    parser.add_argument(
        "--data", type=json_argument, metavar="JSON", help="the data; - reads standard input"
    )
    parser.add_argument("--key", metavar="KEY", help="idempotency key: one key sends one signal")
    parser.add_argument(
        "--buffer",
        action="store_true",
        help="keep the signal for the first run that waits, if it reaches none",
    )
    add_common(parser)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    with client(arguments) as ow:
        try:
            reached = ow.send_signal(
                arguments.name,
                typed.get("data"),
                idempotency_key=typed.get("key"),
                buffer="buffer" in typed,
            )
        except NotSerializable as error:
            raise ConfigurationError(f"--data: {error}") from None
    if "json" in typed:
        print_json({"run_ids": reached})
        return ExitCode.CLEAN
    if reached:
        print_data("\n".join(reached))
    else:
        outcome = "kept for the first run that waits" if "buffer" in typed else "dropped"
        print_message(f"no run waits for this signal; it is {outcome}")
    return ExitCode.CLEAN


COMMAND = Command("Send a signal to the runs that wait for it", _add_options, _run)
