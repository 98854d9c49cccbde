"""A directory in which the examples of a document are written and run, as a reader would."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.processes import ROOT, Program, Spawn

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and "slow" in item.keywords:
            item.add_marker(pytest.mark.once)


class Sandbox:
    """``bin`` holds the commands that the documents use; ``env`` is laid over the environment."""

    def __init__(self, directory: Path, spawn: Spawn) -> None:
        self.directory = directory
        self.env: dict[str, str] = {}
        self._spawn = spawn
        self._programs: list[Program] = []
        self._bin = directory / "bin"
        self._bin.mkdir()
        python = shlex.quote(sys.executable)
        self._add_command("python", python)
        self.add_module_command("owsuper")

    def add_module_command(self, module: str) -> None:
        """Let ``module`` be a command, as pip installs it."""
        self._add_command(module, f"{shlex.quote(sys.executable)} -m {module}")

    def _add_command(self, name: str, command: str) -> None:
        path = self._bin / name
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, commands: str) -> Program:
        """Begin to execute ``commands``, by a shell that gives up at the first failure."""
        program = self._spawn(
            *("bash", "-euo", "pipefail", "-c", commands),
            env={"PATH": f"{self._bin}:/usr/local/bin:/usr/bin:/bin", **self.env},
            cwd=self.directory,
        )
        self._programs.append(program)
        return program

    def run(self, commands: str, *, timeout: float = 60.0) -> str:
        """What ``commands`` print; they must succeed."""
        program = self.start(commands)
        code = program.wait(timeout)
        program.end()
        assert code == 0, program.stderr.text
        return program.stdout.text

    def worker(self, command: str) -> Program:
        """``command``, to be stopped by TERM: the shell must not stand in between."""
        return self.start(f"exec {command}" if "=" not in command.split()[0] else command)

    def end(self) -> None:
        """Kill what still runs."""
        for program in self._programs:
            program.end()


@pytest.fixture
def sandbox(tmp_path: Path, spawn: Spawn) -> Sandbox:
    """An empty directory; what runs in it uses the embedded server."""
    return Sandbox(tmp_path, spawn)


@pytest.fixture
def connected(sandbox: Sandbox, database_url: str, schema: str) -> Iterator[Sandbox]:
    """An empty directory; what runs in it uses the server of the tests, in a fresh schema."""
    assert urlsplit(database_url).scheme == "postgresql"
    sandbox.env |= {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    yield sandbox
    sandbox.end()  # before the schema is dropped: a worker that is alive would be in the way


__all__ = ["ROOT", "Sandbox"]
