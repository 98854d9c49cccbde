"""``manage.py owsuper``: the ``owsuper`` command with the settings of the Django project."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from owsuper.client.worker import environment
from owsuper.django.application import PROJECT
from owsuper.django.databases import explicit_settings, project_settings
from owsuper.errors import ConfigurationError
from owsuper.settings import variable_name


class OwsuperCommand(BaseCommand):
    """Passes its words on to ``owsuper``, in a fresh interpreter.

    So a supervisor imports nothing of the project, and there is one parser of the options.
    """

    help = "The owsuper command for this project: worker (the default), migrate, runs, ps, ..."

    def run_from_argv(self, argv: list[str]) -> NoReturn:
        """Become the ``owsuper`` command: systemd, Ctrl-C and the exit code are its own."""
        try:
            command, env = _command(_without_options_of_django(argv[2:]))
        except ConfigurationError as error:
            sys.stderr.write(f"owsuper: error: {error}\n")
            sys.exit(2)
        sys.stdout.flush()
        os.execve(command[0], command, env)

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the help of ``owsuper``."""
        self.run_from_argv([prog_name, subcommand, "--help"])

    def add_arguments(self, parser: CommandParser) -> None:
        """Take all words as they are, from ``call_command``."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, words: Sequence[str], **__: Any) -> None:
        """Run ``owsuper`` for ``call_command``. Raises CommandError if it fails."""
        try:
            command, env = _command(words)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.stdout:
            self.stdout.write(done.stdout, ending="")
        if done.returncode:
            message = done.stderr.strip().removeprefix("owsuper: error: ")
            raise CommandError(message, returncode=done.returncode)
        if done.stderr:
            self.stderr.write(done.stderr, ending="")


Command = OwsuperCommand


def _command(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment. Raises ConfigurationError."""
    given = {**project_settings().values, **asdict(explicit_settings())}
    env = {**os.environ, **environment(given)}
    env[variable_name("modules")] = PROJECT
    env["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    words = list(words)
    flags = [number for number, word in enumerate(words) if word.partition("=")[0] == "--module"]
    if flags:  # the flag would replace the variable
        words[flags[0] : flags[0]] = ["--module", PROJECT]
    return [sys.executable, "-m", "owsuper", *words], env


def _without_options_of_django(words: Sequence[str]) -> list[str]:
    """Leave out the options that Django has read before it called this command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    return parser.parse_known_args(words)[1]
