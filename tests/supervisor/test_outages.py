"""A worker whose database is unreachable."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.proxy import Proxy
from tests.supervisor.worker import Begin


def test_after_an_outage_runs_are_executed(begin: Begin, proxy: Proxy) -> None:
    worker = begin("--poll-interval=60s", url=proxy.url)
    worker.await_outcome(worker.start("record", text="one"))
    proxy.cut()
    worker.log.wait_for("the claiming connection is down")
    run = worker.start("record", text="two")
    proxy.restore()
    worker.await_outcome(run)
    assert worker.effects() == ["one", "two"]
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_child_that_dies_during_an_outage_is_recorded_after_it(
    begin: Begin, proxy: Proxy
) -> None:
    worker = begin(url=proxy.url)
    run = worker.start("die_once", how="note('dying'); time.sleep(1); os.kill(os.getpid(), 9)")
    worker.await_effect("dying")
    proxy.cut()
    worker.log.wait_for("child died: signal SIGKILL")
    proxy.restore()
    worker.await_outcome(run)
    assert worker.effects() == ["before", "dying", "survived"]


@pytest.mark.slow
def test_a_run_stays_with_its_worker_after_an_outage_that_outlasts_the_lease(
    begin: Begin, proxy: Proxy, tmp_path: Path
) -> None:
    worker = begin("--lease=3s", url=proxy.url)
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    proxy.cut()
    deadline = time.monotonic() + 60
    while (due := worker.get(run).available_at) is None or due > datetime.now(UTC):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # only time ends a lease
    proxy.restore()
    worker.log.wait_for("the claiming connection is back")
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.get(run).attempts == 1
    assert worker.effects() == ["waiting", "after"]


@pytest.mark.slow
def test_a_shutdown_during_an_outage_is_bounded(begin: Begin, proxy: Proxy) -> None:
    worker = begin("--graceful-timeout=500ms", url=proxy.url)
    worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    proxy.cut()
    worker.program.terminate()
    assert worker.program.wait() == 0
    worker.log.wait_for("the database is unreachable")
    assert worker.program.descendants() == []


@pytest.mark.slow
def test_notifications_that_do_not_arrive_are_logged_and_runs_are_found_by_polling(
    begin: Begin, database_url: str, conn: psycopg.Connection
) -> None:
    # NOTIFY reaches listeners in the same database only, so another one stands in for a pooler.
    elsewhere = re.sub(r"/\w+(?=\?|$)", "/template1", database_url)
    worker = begin("--poll-interval=200ms", OWSUPER_LISTEN_URL=elsewhere)
    worker.log.wait_for(r"notifications \(NOTIFY\) do not arrive")
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.effects() == ["hello"]


def test_a_database_that_is_away_at_the_start_is_exit_code_4(begin: Begin) -> None:
    worker = begin(url="postgresql://postgres@127.0.0.1:1/postgres", ready=False)
    assert worker.program.wait() == 4
    assert "Cannot reach PostgreSQL at 127.0.0.1:1" in worker.log.text
    assert "Traceback" not in worker.log.text
