"""A client asks one worker to drain, wherever it runs, through the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from owsuper import OpenWorkflow, WorkerStatus
from owsuper.db import connect
from owsuper.db.workers import WorkerQueries
from tests.client.conftest import eventually
from tests.supervisor.worker import Begin

Drain = Callable[..., None]


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def drain(database_url: str, schema: str) -> Iterator[Drain]:
    with connect.connect(database_url, application_name="owsuper test") as conn:

        def ask(supervisor_id: str, namespace: str = "default") -> None:
            WorkerQueries(schema, namespace).drain(supervisor_id).run(conn)

        yield ask


def only_worker(ow: OpenWorkflow) -> WorkerStatus:
    """The one worker that there is: it may say that it is ready before it is in the list."""
    eventually(lambda: len(ow.list_workers()) == 1)
    [supervisor] = ow.list_workers()
    return supervisor


@pytest.mark.slow
def test_it_finishes_its_runs_takes_no_others_and_ends(
    begin: Begin, ow: OpenWorkflow, drain: Drain, tmp_path: Path
) -> None:
    drained = begin("--processes=1")
    supervisor = only_worker(ow)
    run = drained.start("wait_for_file", path=str(tmp_path / "go"))
    drained.await_effect("waiting")
    other = begin("--processes=1")
    drain(supervisor.id, namespace="other")
    drain("another:1:worker")
    drain(supervisor.id)
    drain(supervisor.id)  # asking twice changes nothing
    drained.log.wait_for("a client has asked this worker to drain")
    drained.log.wait_for("draining; runs to finish: 1")
    later = other.start("record", text="later")
    (tmp_path / "go").touch()
    for each in (run, later):
        other.await_completed(each)
    assert drained.program.wait() == 0
    assert drained.log.text.count("a client has asked") == 1
    assert "asked" not in other.log.text
    [left] = ow.list_workers()
    assert (left.pid, left.here) == (other.program.pid, True)
    assert other.stop() == 0


def test_a_worker_in_one_process_does_the_same(
    begin: Begin, ow: OpenWorkflow, drain: Drain
) -> None:
    worker = begin("--foreground")
    supervisor = only_worker(ow)
    drain(supervisor.id)
    assert worker.program.wait() == 0
    assert ow.list_workers() == []
