"""``owsuper worker``, which is also ``owsuper`` alone: the supervisor and its children."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Final

from owsuper import logs, settings
from owsuper.cli import database, forked_call
from owsuper.cli.arguments import Command, add_settings, flags
from owsuper.cli.output import print_data
from owsuper.errors import ConfigurationError
from owsuper.settings import SETTING_TYPES
from owsuper.supervisor import supervisor
from owsuper.version import own_version

_log = logging.getLogger("owsuper.cli")

# Seconds; a supervisor that waits neither claims runs nor renews leases.
_LOG_PATIENCE: Final = 0.05


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, SETTING_TYPES)
    # For programs that start a worker: the supervisor writes a line when all children take runs.
    parser.add_argument("--ready-fd", type=_descriptor, help=argparse.SUPPRESS)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="reload the code when Python files change, in development (needs watchfiles)",
    )
    parser.add_argument(
        "--foreground",
        action="store_true",
        help="execute one run at a time in this process, for breakpoint() and debuggers",
    )


def _descriptor(text: str) -> int:
    try:
        os.fstat(int(text))
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is not an open file descriptor") from None
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    chosen = settings.load(flags(arguments))
    if not chosen.modules:
        raise ConfigurationError(
            "no module: name the module with your workflows by --module app.workflows"
            " (or by OWSUPER_MODULE, or by module in pyproject.toml)"
        )
    watch = "watch" in arguments
    if watch and find_spec("watchfiles") is None:
        raise ConfigurationError(
            "--watch needs the library watchfiles: pip install 'owsuper[watch]'"
        )
    if watch and "foreground" in arguments:
        raise ConfigurationError("--foreground cannot reload: leave out --watch")
    if "foreground" in arguments:
        from owsuper.cli import foreground  # loads the modules of a child

        return foreground.run(chosen)
    logs.set_up(chosen, patience=_LOG_PATIENCE)
    logs.adopt_root()
    settings.log_sources(chosen, _log, os.environ)
    with ExitStack() as stack:
        return supervisor.run(
            chosen,
            resolve_database=lambda application: database.choose(chosen, application, stack),
            migrate=_prepare,
            ready_fd=getattr(arguments, "ready_fd", None),
            watch=watch,
        )


def _prepare(url: str, schema: str, *, migrate: bool, give_up: Callable[[], bool]) -> None:
    """Run ``database.prepare`` in a fork, which a stop signal can kill while it waits."""
    forked_call.call(lambda: database.prepare(url, schema, migrate=migrate), give_up=give_up)


def show_version() -> int:
    """Print the installed version to standard output, and return the exit code."""
    print_data(f"owsuper {own_version() or '(a checkout that is not installed)'}")
    return 0


COMMAND = Command("Run workflows (the default)", _add_options, _run)
