"""The common parts of commands that use the database through an OpenWorkflow, as programs do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from owsuper import OpenWorkflow, RunHandle, settings
from owsuper.cli.arguments import add_settings, flags, typed_as
from owsuper.cli.output import document_of, print_json
from owsuper.errors import ResultTimeout, RunCanceled, RunError, RunFailed, RunNotFound
from owsuper.setting_types import duration

_SETTINGS: Final = ("database_url", "schema", "namespace")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that all of these commands have."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    add_settings(parser, _SETTINGS)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add ``--timeout``: how long to wait for a run to end."""
    parser.add_argument(
        "--timeout",
        type=typed_as(duration("0s", "10y")),
        metavar="DURATION",
        help="give up waiting after this time; the run goes on",
    )


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


@contextmanager
def client(arguments: argparse.Namespace) -> Iterator[OpenWorkflow]:
    """Yield an OpenWorkflow for the database that ``arguments`` name, and close it at the end.

    Raises ConfigurationError, and EmbeddedUnavailable on first use. A RunNotFound from within
    gets the namespace and the schema into its message.
    """
    chosen = settings.load(flags(arguments))
    ow = OpenWorkflow(
        chosen.database_url,
        namespace=chosen.namespace,
        schema=chosen.schema,
        listen=chosen.listen,
    )
    try:
        yield ow
    except RunNotFound as error:
        raise RunNotFound(explain(error, arguments), run_id=error.run_id) from None
    finally:
        ow.close()


def searched(arguments: argparse.Namespace) -> str:
    """Return the namespace and the schema that the command works on, for a message."""
    chosen = settings.load(flags(arguments))
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
        result = handle.result(typed.get("timeout"))
    except (RunFailed, RunCanceled, ResultTimeout):
        if "json" in typed:
            print_json(document_of(handle.details()))
        raise
    print_json({"id": handle.id, "result": result} if "json" in typed else result)
