"""``owsuper worker``, which is also ``owsuper`` alone: the supervisor and its children."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import ExitStack
from importlib import metadata

from owsuper import logs, settings
from owsuper.cli import database, forked_call
from owsuper.cli.arguments import Command, add_settings, flags
from owsuper.cli.output import put
from owsuper.errors import ConfigurationError
from owsuper.settings import SETTING_TYPES
from owsuper.supervisor import supervisor


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, SETTING_TYPES)
    # For programs that start a worker: a line is written there once it takes runs.
    parser.add_argument("--ready-fd", type=_descriptor, help=argparse.SUPPRESS)


def _descriptor(text: str) -> int:
    try:
        os.fstat(int(text))
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is no open file descriptor") from None
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    chosen = settings.load(flags(arguments))
    if not chosen.modules:
        raise ConfigurationError(
            "no module to work for: name the one that holds your workflows with"
            " --module app.workflows (or OWSUPER_MODULE, or module in pyproject.toml)"
        )
    logs.configure(chosen.log_level)
    with ExitStack() as stack:
        return supervisor.run(
            chosen,
            resolve_database=lambda application: database.choose(chosen, application, stack),
            migrate=_prepare,
            ready_fd=getattr(arguments, "ready_fd", None),
        )


def _prepare(url: str, schema: str, *, migrate: bool, give_up: Callable[[], bool]) -> None:
    """``database.prepare`` in a process of its own, which a stop can kill while it waits."""
    forked_call.call(lambda: database.prepare(url, schema, migrate=migrate), give_up=give_up)


def show_version() -> int:
    """The installed version on standard output."""
    try:
        put(f"owsuper {metadata.version('owsuper')}")
    except metadata.PackageNotFoundError:
        put("owsuper (a checkout that is not installed)")
    return 0


COMMAND = Command("Run workflows (the default)", _add_options, _run)
