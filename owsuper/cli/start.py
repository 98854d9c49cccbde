"""``owsuper start``: starts a run by the name of its workflow."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import cast

from owsuper.cli import documents
from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import add_common, add_timeout, as_json, opened, place, put_end
from owsuper.cli.output import put, say
from owsuper.errors import ConfigurationError, NotSerializable, OwsuperError
from owsuper.setting_types import duration
from owsuper.supervisor.exit_status import ExitCode

_ABOUT = """\
The command knows the name of the workflow and nothing of its code. So it can check neither that
there is such a workflow, nor that the input is what it takes: an input that does not fit fails
the run when a worker takes it up.

Standard output: the id of the run; with --wait its result, as JSON. With --wait, a run that
fails or is canceled, or does not end in time, is an error; with --json too, the run as it is then,
with its status and error, is printed all the same.

examples:
  owsuper start send-welcome-email --input '{"user_id": 7}'
  owsuper start nightly-report --at 2026-03-01T02:00:00Z --key report:2026-03-01
  owsuper start add --input '[1, 2]' --wait --timeout 30s
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name of the workflow")
    parser.add_argument(
        "--input", type=as_json, metavar="JSON", help="its input; - reads it from standard input"
    )
    parser.add_argument("--version", dest="of_version", metavar="V", help="a version of it")
    parser.add_argument(
        "--key", metavar="KEY", help="within 24 hours, the same key means the same run"
    )
    parser.add_argument(
        "--at",
        type=typed_as(_moment),
        metavar="WHEN",
        help="when it is due: a time with its zone, or a while from now, such as 5m",
    )
    parser.add_argument(
        "--deadline",
        type=typed_as(_moment),
        metavar="WHEN",
        help="when it fails if it has not ended; told as for --at",
    )
    parser.add_argument("--wait", action="store_true", help="wait until it ends; print its result")
    add_timeout(parser)
    add_common(parser)
    parser.epilog = _ABOUT


def _moment(text: str) -> datetime | timedelta:
    """An aware time, or a while from now, of which a bare number means seconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _while(text)
    if moment.utcoffset() is None:
        raise ConfigurationError(
            f"{text!r} has no time zone; write {moment.isoformat()}Z for UTC, or an offset such as"
            " +01:00"
        )
    return moment


def _while(text: str) -> timedelta:
    try:
        return timedelta(seconds=cast("float", duration("0s", "100y")(text)))
    except ConfigurationError:
        raise ConfigurationError(
            f"must be a time such as 2026-03-01T12:00:00Z, or a while from now such as 5m, not"
            f" {text!r:.80}"
        ) from None


def _put_id(run_id: str, *, as_json: bool) -> None:
    """Print the id; a run that is started must not go unnoticed for want of a place to say so."""
    try:
        put(documents.encode({"id": run_id}) if as_json else run_id)
    except OwsuperError:
        say(f"run {run_id} is started")
        raise


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    if "timeout" in typed and "wait" not in typed:
        raise ConfigurationError("--timeout: nothing is waited for without --wait")
    if typed.get("of_version") == "":
        raise ConfigurationError("--version: it is empty; leave it out to name no version")
    with opened(arguments) as ow:
        try:
            handle = ow.run_workflow(
                arguments.name,
                typed.get("input"),
                version=typed.get("of_version"),
                idempotency_key=typed.get("key"),
                available_at=typed.get("at"),
                deadline_at=typed.get("deadline"),
            )
        except NotSerializable as error:
            raise ConfigurationError(f"--input: {error}") from None
        if "wait" not in typed:
            _put_id(handle.id, as_json="json" in typed)
            return ExitCode.CLEAN
        say(f"waiting for run {handle.id} ({place(arguments)})")
        put_end(handle, arguments)
    return ExitCode.CLEAN


COMMAND = Command("Start a run of a workflow, by its name", _add_options, _run)
