"""Workers and clients behind a real PgBouncer in transaction mode."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from owsuper import OpenWorkflow, RunCanceled, Step
from owsuper.db.migrate import migrate
from tests.acceptance.deployment import Deployment, Worker
from tests.acceptance.tables import eventually
from tests.fixtures.pgbouncer import PgBouncer
from tests.fixtures.postgres import connect
from tests.fixtures.processes import Spawn

pytestmark = pytest.mark.slow

SHAPE = {"steps": 4, "seconds": 0.005}
QUICK = "100ms"


def work(deployment: Deployment, *, scale: int = 1) -> list[str]:
    """Start runs of all kinds."""
    return [
        *deployment.start("chain", *[SHAPE] * 10 * scale),
        *deployment.start("chain-async", *[SHAPE] * 10 * scale),
        *deployment.start("parallel", *[{"width": 3, "seconds": 0.005}] * 5 * scale),
        *deployment.start("nap", *[{"seconds": 0.2}] * 5 * scale),
    ]


# --- workers ---------------------------------------------------------------------------------


def test_a_worker_that_does_not_listen_works_through_a_pooler(
    deployment: Deployment, pgbouncer: PgBouncer
) -> None:
    deployment.url = pgbouncer.url
    worker = deployment.worker("--no-listen", poll_interval=QUICK)
    ids = work(deployment)
    deployment.wait_until_ended(ids)
    deployment.check(ids)
    assert pgbouncer.leftovers() == []
    query = "SELECT pooled, lease_seconds FROM {schema}.owsuper_supervisors"
    eventually("the worker is listed", lambda: deployment.query(query) == [(True, 0)])
    worker.stop()
    assert deployment.query("SELECT id FROM {schema}.owsuper_supervisors") == []
    assert "WARNING" not in worker.log


def test_with_a_direct_address_to_listen_at_runs_are_picked_up_at_once(
    deployment: Deployment, database_url: str, pgbouncer: PgBouncer
) -> None:
    deployment.url = pgbouncer.url
    worker = deployment.worker(poll_interval="1h", listen_url=database_url)
    for _ in range(5):  # one after the other, so that only a notification can have woken the worker
        ids = deployment.start("chain", SHAPE)
        deployment.wait_until_ended(ids)
        deployment.check(ids)
    ids = work(deployment)
    deployment.wait_until_ended(ids)
    deployment.check(ids)
    assert pgbouncer.leftovers() == []
    worker.stop()
    assert "WARNING" not in worker.log


def test_with_the_poolers_address_alone_the_worker_logs_that_and_polls(
    deployment: Deployment, pgbouncer: PgBouncer
) -> None:
    deployment.url = pgbouncer.url
    worker = deployment.worker(poll_interval=QUICK)
    worker.wait_for_log(r"WARNING .* connection pooler .*--listen-url")
    ids = work(deployment)
    deployment.wait_until_ended(ids)
    deployment.check(ids)
    assert pgbouncer.leftovers() == []
    worker.stop()
    assert worker.log.count("WARNING") == 1


def test_two_applications_share_a_pooler_and_do_not_use_each_others_statements(
    deployment: Deployment,
    pgbouncer: PgBouncer,
    database_url: str,
    tmp_path: Path,
    spawn_owsuper: Spawn,
    deployments: list[Deployment],
) -> None:
    schema = f"test_{uuid4().hex[:16]}"
    (tmp_path / "other").mkdir()
    with connect(database_url) as conn:
        migrate(conn, schema)
    try:
        other = Deployment(database_url, schema, spawn_owsuper, tmp_path / "other")
        deployments.append(other)
        both: list[tuple[Deployment, list[str], Worker]] = []
        for each in (deployment, other):
            each.url = pgbouncer.url
            both.append(
                (each, work(each), each.worker("--no-listen", wait=False, poll_interval=QUICK))
            )
        for each, ids, _ in both:
            each.wait_until_ended(ids)
            each.check(ids)
        for _, _, worker in both:
            worker.stop()
            assert "refused" not in worker.log
    finally:
        with connect(database_url) as conn:
            conn.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())


def test_a_pooler_that_crashes_costs_time_and_no_step(
    deployment: Deployment, pgbouncer: PgBouncer
) -> None:
    deployment.url = pgbouncer.url
    ids = work(deployment, scale=6)
    worker = deployment.worker("--no-listen", poll_interval=QUICK)
    for _ in range(2):
        deployment.journal.wait_for_next(40)
        pgbouncer.kill()
        pgbouncer.start()
    deployment.wait_until_ended(ids)
    deployment.check(ids)
    worker.stop()
    assert "child died" not in worker.log
    assert pgbouncer.leftovers() == []


# --- clients ---------------------------------------------------------------------------------


@pytest.fixture
def ow(deployment: Deployment, pgbouncer: PgBouncer) -> Iterator[OpenWorkflow]:
    """A client behind the pooler; its runs are executed by a worker that connects directly."""
    with closing(OpenWorkflow(pgbouncer.url, schema=deployment.schema)) as client:
        yield client


def chain(step: Step, input: dict[str, float]) -> list[str]:
    raise NotImplementedError("the worker has the code")


def test_results_arrive_by_polling_and_the_client_logs_that(
    ow: OpenWorkflow, deployment: Deployment, pgbouncer: PgBouncer, caplog: pytest.LogCaptureFixture
) -> None:
    held = ow.workflow("held")(chain)
    deployment.worker()
    with caplog.at_level(logging.WARNING, "owsuper.client"), ThreadPoolExecutor() as threads:
        handle = held.run({})
        held_step = deployment.gate.next()
        waiting = threads.submit(handle.result, timeout=60)
        eventually("the client polls", lambda: "connection pooler" in caplog.text)
        assert pgbouncer.leftovers() == []  # no lock and no LISTEN while the client waits
        held_step.command("go")
        assert len(waiting.result()) == 3
    assert len(caplog.records) == 1
    assert pgbouncer.leftovers() == []


def test_starting_waiting_and_canceling_work_through_a_pooler(
    ow: OpenWorkflow, deployment: Deployment, pgbouncer: PgBouncer
) -> None:
    workflow = ow.workflow("chain")(chain)
    held = ow.workflow("held")(chain)
    deployment.worker()
    handles = workflow.run_many([SHAPE] * 20)
    with ThreadPoolExecutor(16) as threads:
        keyed = list(
            threads.map(lambda n: workflow.run(SHAPE, idempotency_key=f"key-{n % 4}"), range(64))
        )
        ends = list(threads.map(lambda handle: handle.result(timeout=60), [*handles, *keyed]))
    assert len({handle.id for handle in keyed}) == 4
    assert {len(end) for end in ends} == {4}
    canceled = held.run({})
    deployment.gate.next()
    canceled.cancel()
    with pytest.raises(RunCanceled):
        canceled.result(timeout=60)
    deployment.check(
        [handle.id for handle in {each.id: each for each in [*handles, *keyed]}.values()]
    )
    assert pgbouncer.leftovers() == []


def test_awaiting_works_through_a_pooler(
    ow: OpenWorkflow, deployment: Deployment, pgbouncer: PgBouncer
) -> None:
    workflow = ow.workflow("chain")(chain)
    deployment.worker()

    async def main() -> list[list[str]]:
        starts = [workflow.arun(SHAPE, idempotency_key=f"key-{n % 4}") for n in range(32)]
        handles = await asyncio.gather(*starts)
        assert len({handle.id for handle in handles}) == 4
        return await asyncio.gather(*(handle.aresult(timeout=60) for handle in handles))

    assert {len(end) for end in asyncio.run(main())} == {4}
    assert pgbouncer.leftovers() == []


def test_with_a_direct_address_to_listen_at_results_arrive_by_notification(
    deployment: Deployment,
    database_url: str,
    pgbouncer: PgBouncer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OWSUPER_LISTEN_URL", database_url)
    deployment.worker()
    with closing(OpenWorkflow(pgbouncer.url, schema=deployment.schema)) as ow:
        held = ow.workflow("held")(chain)
        ends: list[list[str]] = []
        handle = held.run({})
        held_step = deployment.gate.next()
        waiting = threading.Thread(target=lambda: ends.append(handle.result(timeout=60)))
        waiting.start()
        eventually("the client waits", waits(deployment))
        held_step.command("go")
        waiting.join()
    assert [len(end) for end in ends] == [3]
    assert caplog.records == []
    assert pgbouncer.leftovers() == []


def waits(deployment: Deployment) -> Callable[[], bool]:
    locks = """
        SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND mode = 'ShareLock' AND application_name LIKE $1
    """
    return lambda: bool(deployment.query(locks, f"owsuper: client {os.getpid()} results"))
