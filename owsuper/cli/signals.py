"""``owsuper signal``: sends a signal to the runs that wait for it."""

from __future__ import annotations

import argparse

from owsuper.cli import documents
from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, as_json, opened
from owsuper.cli.output import put, put_json, say
from owsuper.errors import ConfigurationError, NotSerializable
from owsuper.supervisor.exit_status import ExitCode

_ABOUT = """\
A signal that nobody waits for is dropped, unless --buffer keeps it for the first who comes to wait.

Standard output: the ids of the runs that it reached, one a line.

examples:
  owsuper signal expense-7 --data '{"by": "Ada", "approved": true}' --buffer
  owsuper signal deploy-finished --key deploy:2026-03-01
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the signal")
    parser.add_argument(
        "--data", type=as_json, metavar="JSON", help="its data; - reads it from standard input"
    )
    parser.add_argument("--key", metavar="KEY", help="the same key means the same sending")
    parser.add_argument(
        "--buffer", action="store_true", help="keep it for the first to wait, if it reaches nobody"
    )
    add_common(parser)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    with opened(arguments) as ow:
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
        put_json(documents.encode({"run_ids": reached}))
        return ExitCode.CLEAN
    if reached:
        put("\n".join(reached))
    else:
        kept = "kept for the first who waits for it" if "buffer" in typed else "dropped"
        say(f"nobody waits for this signal; it is {kept}")
    return ExitCode.CLEAN


COMMAND = Command("Send a signal to the runs that wait for it", _add_options, _run)
