"""``owsuper worker``, which is also ``owsuper`` alone: the supervisor and its children.

The modules of a supervisor are imported only by a process that becomes one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from owsuper import setting_sources
from owsuper.cli.arguments import Command, add_settings, flags, words
from owsuper.cli.output import print_data
from owsuper.errors import ConfigurationError
from owsuper.settings import SETTING_TYPES, Settings, variable_name
from owsuper.version import own_version


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, SETTING_TYPES, repeated=("database_url",))
    # For programs that start a worker: the supervisor writes a line when all children take runs.
    parser.add_argument("--ready-fd", type=_descriptor, help=argparse.SUPPRESS)
    # For the process that starts several workers: the environment has the URL, which counts as a
    # flag, and log lines call it this.
    parser.add_argument("--database-label", help=argparse.SUPPRESS)
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
    given = flags(arguments)
    urls = given.pop("database_url", [])
    label = getattr(arguments, "database_label", "")
    if label:
        urls = [os.environ.get(variable_name("database_url"))]
    loaded = [setting_sources.load(given | {"database_url": url}) for url in urls or [None]]
    _check(loaded[0], arguments)
    if len(urls) > 1:
        return _run_several(arguments, given, loaded)
    if "foreground" in arguments:
        from owsuper.cli import foreground  # loads the modules of a child

        return foreground.run(loaded[0])
    from owsuper.cli import supervised

    return supervised.run(
        loaded[0],
        label=label,
        ready_fd=getattr(arguments, "ready_fd", None),
        watch="watch" in arguments,
    )


def _check(chosen: Settings, arguments: argparse.Namespace) -> None:
    if not chosen.modules:
        raise ConfigurationError(
            "no module: name the module with your workflows by --module app.workflows"
            " (or by OWSUPER_MODULE, or by module in pyproject.toml)"
        )
    if "watch" in arguments and find_spec("watchfiles") is None:
        raise ConfigurationError(
            "--watch needs the library watchfiles: pip install 'owsuper[watch]'"
        )
    if "watch" in arguments and "foreground" in arguments:
        raise ConfigurationError("--foreground cannot reload: leave out --watch")


def _run_several(
    arguments: argparse.Namespace, given: Mapping[str, Any], loaded: Sequence[Settings]
) -> int:
    for option in ("foreground", "ready_fd"):
        if option in arguments:
            raise ConfigurationError(
                f"--{option.replace('_', '-')}: give one --database-url; such a worker serves one"
                " database"
            )
    from owsuper import logs
    from owsuper.several import workers
    from owsuper.several.commands import commands

    typed = [*words(given), *(["--watch"] if "watch" in arguments else [])]
    urls = [str(each.database_url) for each in loaded]
    to_start = commands(typed, loaded[0], urls)
    logs.set_up(loaded[0])
    return workers.run(to_start, burst=loaded[0].burst)


def show_version() -> int:
    """Print the installed version to standard output, and return the exit code."""
    print_data(f"owsuper {own_version() or '(a checkout that is not installed)'}")
    return 0


COMMAND = Command("Run workflows (the default)", _add_options, _run)
