"""Commands that ask the database as any program does: by an OpenWorkflow."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from owsuper import OpenWorkflow, RunHandle, settings
from owsuper.cli import documents
from owsuper.cli.arguments import add_settings, flags, typed_as
from owsuper.cli.output import put_json
from owsuper.errors import ResultTimeout, RunCanceled, RunError, RunFailed, RunNotFound
from owsuper.setting_types import duration

_SETTINGS: Final = ("database_url", "schema", "namespace")


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that all of these commands have."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    add_settings(parser, _SETTINGS)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """How long to wait for a run to end."""
    parser.add_argument(
        "--timeout",
        type=typed_as(duration("0s", "10y")),
        metavar="DURATION",
        help="give up waiting after this time; the run goes on",
    )


def as_json(text: str) -> Any:
    """Standard JSON; ``-`` reads it from standard input. (orjson would quietly round what has more
    than 64 bits.)
    """
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(
            f"this is no JSON: {error}. In most shells, put it between single quotes, and text"
            " within it between double quotes."
        ) from None


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[OpenWorkflow]:
    """The database that is meant, in a namespace; closed at the end.

    Raises ConfigurationError, EmbeddedUnavailable on first use. A RunNotFound tells the place.
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
        raise RunNotFound(told(error, arguments), run_id=error.run_id) from None
    finally:
        ow.close()


def place(arguments: argparse.Namespace) -> str:
    """Which runs are meant: a program may keep its own elsewhere, by what its code says."""
    chosen = settings.load(flags(arguments))
    return f'namespace "{chosen.namespace}", schema "{chosen.schema}"'


def told(error: RunError, arguments: argparse.Namespace) -> str:
    """What to say of a refusal: of a run that is not found, where it is not."""
    return f"{error} ({place(arguments)})" if isinstance(error, RunNotFound) else str(error)


def put_end(handle: RunHandle[Any], arguments: argparse.Namespace) -> None:
    """Wait until the run ends, and print its result.

    Raises RunFailed, RunCanceled, ResultTimeout; programs are given the run before.
    """
    typed = vars(arguments)
    try:
        result = handle.result(typed.get("timeout"))
    except (RunFailed, RunCanceled, ResultTimeout):
        if "json" in typed:
            put_json(documents.encode(documents.of(handle.details())))
        raise
    document = {"id": handle.id, "result": result} if "json" in typed else result
    put_json(documents.encode(document))
