"""The common parts of commands that use the database through an OpenWorkflow, as programs do."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, cast

from owsuper import OpenWorkflow, RunHandle, setting_sources
from owsuper.cli import progress
from owsuper.cli.arguments import add_settings, flags, typed_as
from owsuper.cli.formatting import Layout, printable
from owsuper.cli.output import document_of, print_json, print_message, terminal_width
from owsuper.core.attributes import check_attributes
from owsuper.errors import (
    ConfigurationError,
    LimitNotFound,
    ResultTimeout,
    RunCanceled,
    RunError,
    RunFailed,
    RunNotFound,
    ScheduleNotFound,
)
from owsuper.setting_types import Reader, duration

_WHOLE_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWN_IDS: Final = 3  # ids in the message about several of them
_SETTINGS: Final = ("database_url", "schema", "namespace", "call_timeout")


def add_common(parser: argparse.ArgumentParser, printed: str = "one JSON document") -> None:
    """Add the options that all of these commands have. --json prints ``printed``."""
    parser.add_argument("--json", action="store_true", help=f"print {printed}, for programs")
    add_common_settings(parser)


def add_common_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings of the database."""
    add_settings(parser, _SETTINGS)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add ``--timeout``: how long to wait for a run to end."""
    parser.add_argument(
        "--timeout",
        type=typed_as(duration("0s", "10y")),
        metavar="DURATION",
        help="give up waiting after this time; the run goes on",
    )


def add_id(parser: argparse.ArgumentParser) -> None:
    """Add the id of one run."""
    parser.add_argument(
        "id", metavar="ID", help="the id of the run, or its beginning if no other id begins so"
    )


def add_full(parser: argparse.ArgumentParser) -> None:
    """Add ``--full``; see ``layout``."""
    parser.add_argument(
        "--full", action="store_true", help="cut no value and fold nothing to fit a terminal"
    )


def add_attributes(parser: argparse._ActionsContainer, about: str) -> None:
    """Add ``--attribute``, for ``attributes_of``."""
    parser.add_argument(
        "--attribute", type=_attribute, action="append", metavar="NAME=VALUE", help=about
    )


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} must be a name and a value, such as tenant=7"
        )
    return name, value


def attributes_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the attributes that were typed. Raises ConfigurationError."""
    pairs: list[tuple[str, str]] = vars(arguments).get("attribute", [])
    attributes = dict(pairs)
    if len(attributes) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ConfigurationError(f"--attribute: {twice!r:.80} is given more than once")
    return check_attributes(attributes, "--attribute")


def layout(arguments: argparse.Namespace) -> Layout:
    """Return the room for text on standard output."""
    return Layout(terminal_width(), full="full" in arguments)


def past(text: str) -> datetime | timedelta:
    """Return an aware time, or how long ago. Raises ConfigurationError."""
    return moment_or(text, duration("0s", "10000y"), "how long ago such as 1h")


def future(text: str) -> datetime | timedelta:
    """Return an aware time, or a duration from now. Raises ConfigurationError."""
    return moment_or(text, duration("0s", "100y"), "a duration from now such as 5m")


def moment_or(text: str, read: Reader, otherwise: str) -> datetime | timedelta:
    """Return an aware time, or a duration as ``read`` reads it. Raises ConfigurationError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        if moment.utcoffset() is not None:
            return moment
        raise ConfigurationError(
            f"{text!r} has no time zone; write {moment.isoformat()}Z for UTC, or an offset such as"
            " +01:00"
        )
    try:
        return timedelta(seconds=cast("float", read(text)))
    except ConfigurationError:
        raise ConfigurationError(
            f"must be a time such as 2026-03-01T12:00:00Z, or {otherwise}, not {text!r:.80}"
        ) from None


def json_argument(text: str) -> Any:
    """Return the value of standard JSON; ``-`` reads the JSON from standard input.

    Raises ArgumentTypeError. (orjson would round integers of more than 64 bits.)
    """
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(
            f"invalid JSON: {error}. In most shells, put the JSON between single quotes, and text"
            " within the JSON between double quotes."
        ) from None


class _Messages(logging.Handler):
    """Writes what the client logs as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record to standard error."""
        lines = self.format(record).splitlines()
        print_message("\n".join(map(printable, lines)))


@contextmanager
def client(arguments: argparse.Namespace) -> Iterator[OpenWorkflow]:
    """Yield an OpenWorkflow for the database that ``arguments`` name, and close it at the end.

    Raises ConfigurationError, and EmbeddedUnavailable on first use. The message of a RunNotFound,
    ScheduleNotFound or LimitNotFound from within gets the namespace and the schema.
    """
    chosen = setting_sources.load(flags(arguments))
    ow = OpenWorkflow(
        chosen.database_url,
        namespace=chosen.namespace,
        schema=chosen.schema,
        listen=chosen.listen,
        call_timeout=chosen.call_timeout,
    )
    logger, messages = logging.getLogger("owsuper.client"), _Messages()
    logger.addHandler(messages)
    try:
        yield ow
    except RunNotFound as error:
        raise RunNotFound(explain(error, arguments), run_id=error.run_id) from None
    except ScheduleNotFound as error:
        raise ScheduleNotFound(f"{error} ({searched(arguments)})", name=error.name) from None
    except LimitNotFound as error:
        raise LimitNotFound(f"{error} ({searched(arguments)})") from None
    finally:
        ow.close()
        logger.removeHandler(messages)


def find(ow: OpenWorkflow, text: str, *, to_change: bool = False) -> RunHandle[Any]:
    """Return the handle of the run whose id is ``text``, or whose id alone begins with it.

    If no run is found, the methods of the handle raise RunNotFound. Raises RunError for the
    beginning of several ids, and for no text, which may be a variable of a script that is not set;
    and if the run is ``to_change``, for the beginning of an id that a program has chosen:
    ``order-1`` is rarely meant to be ``order-17``.
    """
    if not text:
        raise RunError(
            "The id of the run is empty. Pass an id, or the beginning of one.", run_id=""
        )
    if _WHOLE_ID.fullmatch(text):
        return ow.get_run(text)
    found = ow.find_run_ids(text, limit=_SHOWN_IDS + 1)
    if len(found) > 1:
        more = " ..." if len(found) > _SHOWN_IDS else ""
        shown = ", ".join(printable(run_id) for run_id in found[:_SHOWN_IDS])
        raise RunError(
            f"Several runs have an id that begins with {text!r}: {shown}{more}. Type more of the"
            " id.",
            run_id=text,
        )
    if to_change and found and found[0] != text and not _WHOLE_ID.fullmatch(found[0]):
        raise RunError(
            f"No run has the id {text!r}. The id {printable(found[0])} begins with it: type it"
            " whole if you mean that run.",
            run_id=text,
        )
    return ow.get_run(found[0] if found else text)


def searched(arguments: argparse.Namespace) -> str:
    """Return the namespace and the schema that the command works on, for a message."""
    chosen = setting_sources.load(flags(arguments))
    return f'namespace "{chosen.namespace}", schema "{chosen.schema}"'


def explain(error: RunError, arguments: argparse.Namespace) -> str:
    """Return the message of ``error``; for a run that is not found, with where it was searched."""
    return f"{error} ({searched(arguments)})" if isinstance(error, RunNotFound) else str(error)


def print_result(handle: RunHandle[Any], arguments: argparse.Namespace) -> None:
    """Wait until the run ends, and print its result.

    Raises RunFailed, RunCanceled and ResultTimeout. With ``--json``, the run is printed first.
    """
    typed = vars(arguments)
    try:
        with progress.shown(handle.progress):
            result = handle.result(typed.get("timeout"))
    except (RunFailed, RunCanceled, ResultTimeout):
        if "json" in typed:
            print_json(document_of(handle.details()))
        raise
    print_json({"id": handle.id, "result": result} if "json" in typed else result)
