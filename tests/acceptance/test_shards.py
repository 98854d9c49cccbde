"""Three servers, one command that serves them, and a program that uses them; one server crashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from owsuper import Shards
from owsuper.db.migrate import migrate
from owsuper.errors import DatabaseUnreachable, RunNotFound
from tests.fixtures.cluster import Servers
from tests.fixtures.processes import Spawn

pytestmark = pytest.mark.slow

FLOWS = """
from owsuper import OpenWorkflow

ow = OpenWorkflow()

@ow.workflow
def where(step, input: dict):
    return step.run("port", lambda: ow.database_url.rpartition(":")[2])
"""
NAMES = ("east", "west", "north")


def test_runs_of_three_servers_and_the_crash_of_one(
    servers: Servers, tmp_path: Path, spawn_owsuper: Spawn
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    made = {name: servers.create(name) for name in NAMES}
    urls = {name: server.url for name, server in made.items()}
    for server in made.values():
        with server.connect() as conn:
            migrate(conn, "openworkflow")
    worker = spawn_owsuper(
        *("--module", "flows", "--processes", "1"),
        *(f"--database-url={url}" for url in urls.values()),
        cwd=tmp_path,
    )
    worker.stderr.wait_for(": ready: databases=3$")
    shards = Shards(urls, by=lambda input: NAMES[input["customer"] % 3], call_timeout="30s")
    runs = [shards.run_workflow("where", {"customer": n}, idempotency_key=f"{n}") for n in range(9)]
    for number, run in enumerate(runs):
        server = made[NAMES[number % 3]]
        assert run.result(timeout=60).startswith(str(server.port))
        assert shards.find_run("where", key=f"{number}").id == run.id
    with pytest.raises(RunNotFound):
        shards.find_run("none")
    made["west"].crash()
    assert shards.run_workflow("where", {"customer": 0}).result(timeout=60)
    assert shards.find_run(runs[2].id).status() == "completed"
    with pytest.raises(DatabaseUnreachable):
        shards.find_run("none")
    with pytest.raises(DatabaseUnreachable):
        shards.run_workflow("where", {"customer": 1})
    made["west"].start()
    assert shards.run_workflow("where", {"customer": 1}).result(timeout=60)
    shards.close()
    worker.terminate()
    assert worker.wait() == 0
