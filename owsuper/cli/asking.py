"""Commands that ask the database as any program does: by an OpenWorkflow.

That is imported only when one of them runs: no worker should pay for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from owsuper import settings
from owsuper.cli.arguments import add_settings, flags, typed_as
from owsuper.rules import duration

if TYPE_CHECKING:
    from owsuper import OpenWorkflow

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

    Raises ConfigurationError, EmbeddedUnavailable on first use.
    """
    from owsuper import OpenWorkflow

    chosen = settings.load(flags(arguments))
    ow = OpenWorkflow(
        chosen.database_url,
        namespace=chosen.namespace,
        schema=chosen.schema,
        listen=chosen.listen,
    )
    try:
        yield ow
    finally:
        ow.close()
