"""``owsuper start``: start a run by the name of its workflow."""

from __future__ import annotations

import argparse

from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import (
    add_attributes,
    add_common,
    add_timeout,
    attributes_of,
    client,
    future,
    json_argument,
    print_result,
    searched,
)
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.core.priority import HIGHEST
from owsuper.errors import ConfigurationError, NotSerializable, OwsuperError
from owsuper.setting_types import duration, whole
from owsuper.supervisor.exit_status import ExitCode

_ABOUT = """\
The command knows only the name of the workflow, not its code. It cannot check that the workflow
exists, nor that the input fits: with a wrong input, the run fails when a worker claims it.

Standard output: the id of the run; with --wait its result, as JSON. With --wait, a run that
fails, is canceled or does not end in time is an error. With --wait --json, the run is then printed
with its status and error.

examples:
  owsuper start send-welcome-email --input '{"user_id": 7}'
  owsuper start nightly-report --at 2026-03-01T02:00:00Z --key report:2026-03-01
  owsuper start import-orders --attribute tenant=7 --attribute region=eu
  owsuper start add --input '[1, 2]' --wait --timeout 30s
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name of the workflow")
    parser.add_argument(
        "--input", type=json_argument, metavar="JSON", help="the input; - reads standard input"
    )
    parser.add_argument(
        "--version", dest="of_version", metavar="V", help="the version of the workflow"
    )
    parser.add_argument(
        "--key", metavar="KEY", help="idempotency key: within 24 hours, one key starts one run"
    )
    parser.add_argument(
        "--key-lifetime",
        type=typed_as(duration("1d", "100y")),
        metavar="DURATION",
        help="how long the key lasts, in place of 24 hours, such as 30d",
    )
    parser.add_argument(
        "--id",
        dest="chosen_id",
        metavar="ID",
        help="the id of the run; if there is a run with this id, none is started",
    )
    add_attributes(parser, "an attribute of the run; may be given more than once")
    parser.add_argument(
        "--at",
        type=typed_as(future),
        metavar="WHEN",
        help="when the run is due: a time with its zone, or a duration from now, such as 5m",
    )
    parser.add_argument(
        "--deadline",
        type=typed_as(future),
        metavar="WHEN",
        help="when the run fails unless it has ended; written as for --at",
    )
    parser.add_argument(
        "--priority",
        type=typed_as(whole(0, HIGHEST)),
        metavar="N",
        help="from 0 to 100: of the runs that are due, one of a higher priority begins first",
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait until the run ends; print its result"
    )
    add_timeout(parser)
    add_common(parser)
    parser.epilog = _ABOUT


def _print_id(run_id: str, *, as_json: bool) -> None:
    """Print the id of the new run, to standard error if standard output cannot be written."""
    try:
        if as_json:
            print_json({"id": run_id})
        else:
            print_data(run_id)
    except OwsuperError:
        print_message(f"run {run_id} is started")
        raise


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    if "timeout" in typed and "wait" not in typed:
        raise ConfigurationError("--timeout: add --wait; without it, the command does not wait")
    if typed.get("of_version") == "":
        raise ConfigurationError(
            "--version: it is empty; leave it out for a workflow without a version"
        )
    with client(arguments) as ow:
        try:
            handle = ow.run_workflow(
                arguments.name,
                typed.get("input"),
                version=typed.get("of_version"),
                id=typed.get("chosen_id"),
                idempotency_key=typed.get("key"),
                key_lifetime=typed.get("key_lifetime"),
                available_at=typed.get("at"),
                deadline_at=typed.get("deadline"),
                priority=typed.get("priority"),
                attributes=attributes_of(arguments),
            )
        except NotSerializable as error:
            raise ConfigurationError(f"--input: {error}") from None
        if "wait" not in typed:
            _print_id(handle.id, as_json="json" in typed)
            return ExitCode.CLEAN
        print_message(f"waiting for run {handle.id} ({searched(arguments)})")
        print_result(handle, arguments)
    return ExitCode.CLEAN


COMMAND = Command("Start a run of a workflow, by its name", _add_options, _run)
