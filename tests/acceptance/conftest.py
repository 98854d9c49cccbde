"""A world for each test."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from owsuper.db.migrate import migrate
from tests.acceptance.world import World
from tests.fixtures.postgres import connect, running_server
from tests.fixtures.processes import Spawn

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    """Those in here are closed when their workers are dead."""
    made: list[World] = []
    yield made
    for world in made:
        for number, worker in enumerate(world.workers, 1):
            print(f"--- worker {number} said:\n{worker.log[-8000:]}")
        world.close()


# Fixtures are taken down from the last argument to the first: workers, worlds, the database.


@pytest.fixture
def world(
    database_url: str, schema: str, tmp_path: Path, worlds: list[World], spawn_owsuper: Spawn
) -> World:
    """A fresh schema and its workers."""
    worlds.append(World(database_url, schema, spawn_owsuper, tmp_path))
    return worlds[0]


@pytest.fixture
def chance() -> random.Random:
    """Random choices; what a failed test prints makes the same again."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def fragile_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server that nobody else uses, so that it may be made to crash."""
    binaries = request.config.getoption("--postgres")
    with running_server(Path(binaries) if binaries not in (None, "embedded") else None) as url:
        yield url


@pytest.fixture
def fragile_world(
    fragile_url: str, tmp_path: Path, worlds: list[World], spawn_owsuper: Spawn
) -> World:
    """A server and workers of its own."""
    with connect(fragile_url) as conn:
        migrate(conn, "openworkflow")
    worlds.append(World(fragile_url, "openworkflow", spawn_owsuper, tmp_path))
    return worlds[0]
