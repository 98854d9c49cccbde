"""A question to whoever sits at the terminal, before many runs are changed."""

from __future__ import annotations

import argparse
import sys

from owsuper.cli.client_command import searched
from owsuper.errors import ConfigurationError


def must_ask(arguments: argparse.Namespace, instead: str) -> bool:
    """Return whether ``--yes`` is missing.

    Raises ConfigurationError, with what to do ``instead``, if then nobody can be asked.
    """
    if "yes" in arguments:
        return False
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{instead} without a terminal")
    return True


def agreed(what: str, arguments: argparse.Namespace) -> bool:
    """Ask whether to do that, and return whether the answer is yes."""
    question = f"{what} ({searched(arguments)})? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
