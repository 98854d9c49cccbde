"""Both implementations on one database: the real npm package, and the real worker of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from owsuper import OpenWorkflow
from tests.fixtures.processes import Program, Spawn

HERE = Path(__file__).parent
HOME = HERE / ".installed"
PACKAGES = (
    "openworkflow@0.10.1",
    "postgres@3.4.9",
    "@opentelemetry/api@1.9.1",
    "@opentelemetry/sdk-trace-node@2.12.1",
)
PATIENCE = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the npm package is installed; installs it once. Without node there is no test."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js on PATH, 20 or newer, with npm")
    complete = HOME / "complete"
    if complete.exists() and complete.read_text() == repr(PACKAGES):
        return HOME
    made = tmp_path_factory.mktemp("openworkflow")
    (made / "package.json").write_text(json.dumps({"private": True}))
    command = ["npm", "install", "--no-audit", "--no-fund", *PACKAGES]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"npm cannot install {PACKAGES}: {done.stderr}")
        pytest.skip(f"npm cannot install {PACKAGES}: {done.stderr[-300:]}")
    (made / "complete").write_text(repr(PACKAGES))
    try:
        made.rename(HOME)
    except OSError:  # another worker was first, or another file system
        return made
    return HOME


class Peer:
    """A process of the other implementation, client or worker."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program
        assert "ready" in self._answer()

    def __call__(self, do: str, **given: Any) -> Any:
        """What it answers. Raises AssertionError for an error."""
        answer = self.ask(do, **given)
        assert "value" in answer, answer
        return answer["value"]

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps({"do": do, **given}) + "\n")
        self._program.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        assert line, "it ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        self._program.kill()
        self._program.communicate()


def environment(url: str) -> dict[str, str]:
    """Where the driver there finds the server: it knows a socket's directory by PGHOST alone."""
    parts = conninfo_to_dict(url)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}
    found = {name: str(parts[part]) for name, part in names.items() if parts.get(part)}
    return {**os.environ, "PGHOST": "localhost", **found}


Peers = Callable[..., Peer]


@pytest.fixture
def peer(package: Path, database_url: str, schema: str) -> Iterator[Peers]:
    """Starts processes of the other implementation."""
    started: list[Peer] = []

    def start(role: str, *served: str, traced: bool = False) -> Peer:
        url = f"postgresql:///{conninfo_to_dict(database_url)['dbname']}"
        command = ["node", str(HERE / "peer.mjs"), str(package), url]
        program = subprocess.Popen(
            [*command, schema, role, *served],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(database_url) | ({"TRACED": "1"} if traced else {}),
        )
        started.append(Peer(program))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def typescript(peer: Peers) -> Peer:
    """A client in TypeScript."""
    return peer("client")


@pytest.fixture
def python(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    """A client in Python."""
    ow = OpenWorkflow(database_url, schema=schema)
    yield ow
    ow.close()


@pytest.fixture
def worker(database_url: str, schema: str, spawn_owsuper: Spawn, tmp_path: Path) -> Program:
    """A worker in Python."""
    program = spawn_owsuper(
        *("--module", "tests.interop.flows", "--schema", schema, "--processes", "1"),
        *("--concurrency", "8"),
        env={"OWSUPER_DATABASE_URL": database_url},
        cwd=tmp_path,
    )
    program.stderr.wait_for("ready: ", timeout=PATIENCE)
    return program
