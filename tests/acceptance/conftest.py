"""A deployment for each test."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from owsuper.db.migrate import migrate
from tests.acceptance.deployment import Deployment
from tests.fixtures.postgres import connect, running_server
from tests.fixtures.processes import Spawn

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture
def deployments() -> Iterator[list[Deployment]]:
    """Deployments in this list are closed when their workers are dead."""
    made: list[Deployment] = []
    yield made
    for deployment in made:
        for number, worker in enumerate(deployment.workers, 1):
            print(f"--- log of worker {number}:\n{worker.log[-8000:]}")
        deployment.close()


# Fixtures are taken down from the last argument to the first: workers, worlds, the database.


@pytest.fixture
def deployment(
    database_url: str,
    schema: str,
    tmp_path: Path,
    deployments: list[Deployment],
    spawn_owsuper: Spawn,
) -> Deployment:
    """A new schema and its workers."""
    deployments.append(Deployment(database_url, schema, spawn_owsuper, tmp_path))
    return deployments[0]


@pytest.fixture
def rng() -> random.Random:
    """Random choices. A failed test prints the seed."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def crashable_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server for this test alone, which may crash."""
    binaries = request.config.getoption("--postgres")
    with running_server(Path(binaries) if binaries not in (None, "embedded") else None) as url:
        yield url


@pytest.fixture
def crashable_deployment(
    crashable_url: str, tmp_path: Path, deployments: list[Deployment], spawn_owsuper: Spawn
) -> Deployment:
    """A server and workers of its own."""
    with connect(crashable_url) as conn:
        migrate(conn, "openworkflow")
    deployments.append(Deployment(crashable_url, "openworkflow", spawn_owsuper, tmp_path))
    return deployments[0]
