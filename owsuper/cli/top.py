"""``owsuper top``: workers and what they do, live in a terminal."""

from __future__ import annotations

import argparse
import sys
from typing import Final, cast

from owsuper.cli import live_view
from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import add_common_settings, client
from owsuper.errors import ConfigurationError
from owsuper.setting_types import duration
from owsuper.supervisor.exit_status import ExitCode

_INTERVAL: Final = 2.0  # seconds; a worker announces itself at most every three


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval",
        type=typed_as(duration("100ms", "1h")),
        metavar="DURATION",
        help=f"time between two looks at the database (default: {_INTERVAL:g}s)",
    )
    add_common_settings(parser)


def _run(arguments: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError("owsuper top needs a terminal; owsuper ps does not")
    interval = cast("float", vars(arguments).get("interval", _INTERVAL))
    with client(arguments) as ow:
        live_view.show(ow, interval)
    return ExitCode.CLEAN


COMMAND = Command("Show workers and what they do, live in a terminal", _add_options, _run)
