"""What a worker tells Prometheus: after real runs, retries, crashes and outages."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.errors import ConfigurationError
from tests.client.conftest import eventually
from tests.db.limits import Limits
from tests.db.rows import Tables
from tests.fixtures.ports import free_port
from tests.fixtures.proxy import Proxy
from tests.metrics.pages import Page, get, scrape, scrape_until
from tests.supervisor.worker import FLOWS, Begin, Worker

SEGFAULT = "import ctypes; ctypes.string_at(0)"
KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

BeginMetered = Callable[..., tuple[Worker, int]]


@pytest.fixture
def begin_metered(begin: Begin) -> BeginMetered:
    """Start a worker with metrics; returns it and its port."""

    def start(*options: str, **others: object) -> tuple[Worker, int]:
        port = free_port()
        return begin(f"--metrics-port={port}", *options, **others), port

    return start


def runs(page: Page, workflow: str, outcome: str) -> float:
    return page("owsuper_runs_total", workflow=workflow, outcome=outcome)


def crashes(page: Page) -> dict[str, float]:
    found = page.values("owsuper_child_crashes_total", "cause")
    return {cause: number for cause, number in found.items() if number}


@pytest.mark.slow
def test_what_has_not_happened_yet_is_zero(begin_metered: BeginMetered) -> None:
    _, port = begin_metered("--processes=1")
    page = scrape(port)
    outcomes = {
        each.labels["outcome"]: each.value
        for each in page.samples
        if each.name == "owsuper_runs_total" and each.labels["workflow"] == "record"
    }
    assert outcomes.keys() >= {"completed", "failed", "crashed"}
    assert set(outcomes.values()) == {0}
    assert page.values("owsuper_child_crashes_total", "cause")["SIGSEGV"] == 0
    assert page.values("owsuper_database_outages_total", "connection") == {
        "claiming": 0,
        "listening": 0,
        "child": 0,
    }


def test_runs_and_steps_are_counted(begin_metered: BeginMetered) -> None:
    worker, port = begin_metered()
    for number in range(20):
        worker.start("record", text=f"{number}")
    page = scrape_until(
        port,
        lambda page: (
            runs(page, "record", "completed") == 20
            and page("owsuper_step_attempts_total", workflow="record") == 20
        ),
    )
    step = {"workflow": "record", "step": "record"}
    assert page("owsuper_step_attempts_total", outcome="completed", **step) == 20
    assert page("owsuper_step_duration_seconds_count", **step) == 20
    assert page("owsuper_step_duration_seconds_bucket", le="+Inf", **step) == 20
    assert page("owsuper_run_execution_seconds_count", workflow="record") == 20
    assert page("owsuper_run_execution_seconds_sum", workflow="record") > 0
    assert page("owsuper_pickup_latency_seconds_count", workflow="record") == 20
    assert page("owsuper_pickup_latency_seconds_sum") >= 0
    assert page("owsuper_claim_batch_size_sum") == 20
    assert page("owsuper_claim_batch_size_count") == page("owsuper_claims_total", result="runs")
    assert page("owsuper_notifications_total") > 0
    assert page("owsuper_database_round_trips_total", process="supervisor") > 0
    assert page("owsuper_database_round_trips_total", process="child") > 0
    assert page("owsuper_commit_batch_size_sum") >= 20
    assert page.values("owsuper_database_up", "connection") == {"claiming": 1, "listening": 1}
    assert page.values("owsuper_children", "state")["ready"] == 2
    assert page("owsuper_slots") == 2
    assert page("process_resident_memory_bytes") > 0
    assert worker.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        get(port)


@pytest.mark.parametrize(
    ("how", "cause"),
    [(KILL, "SIGKILL"), pytest.param(SEGFAULT, "SIGSEGV", marks=pytest.mark.slow)],
)
def test_counts_outlive_the_child_that_counted(
    how: str, cause: str, begin_metered: BeginMetered
) -> None:
    worker, port = begin_metered("--processes=1")
    for number in range(5):
        worker.start("record", text=f"{number}")
    attempts = "owsuper_step_attempts_total"
    scrape_until(port, lambda page: page(attempts, workflow="record") == 5)
    run_id = worker.start("die_once", how=how)
    worker.await_completed(run_id)
    for number in range(5):
        worker.start("record", text=f"{number}")
    page = scrape_until(
        port,
        lambda page: (
            page(attempts, workflow="record") == 10
            and runs(page, "record", "completed") == 10
            and runs(page, "die_once", "completed") == 1
        ),
    )
    assert page(attempts, workflow="record", outcome="completed") == 10
    assert runs(page, "die_once", "crashed") == 1
    assert crashes(page) == {cause: 1}
    assert page("owsuper_runs_total") == 12


def test_a_run_that_keeps_killing_its_process_is_counted_as_failed(
    begin_metered: BeginMetered,
) -> None:
    worker, port = begin_metered("--max-crashes=2")
    worker.start("die", how="import os; os._exit(7)")
    page = scrape_until(port, lambda page: runs(page, "die", "failed") == 1)
    assert runs(page, "die", "crashed") == 2
    assert crashes(page) == {"exit code 7": 2}


@pytest.mark.slow
def test_metrics_survive_a_reload(begin_metered: BeginMetered) -> None:
    worker, port = begin_metered("--processes=1")
    worker.await_outcome(worker.start("record", text="before"))
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for(r"reloaded: ")
    worker.await_outcome(worker.start("record", text="after"))
    attempts = "owsuper_step_attempts_total"
    page = scrape_until(
        port,
        lambda page: page(attempts, workflow="record") == runs(page, "record", "completed") == 2,
    )
    assert page("owsuper_child_crashes_total") == 0


@pytest.mark.slow
def test_no_other_process_has_the_socket(begin_metered: BeginMetered) -> None:
    worker, port = begin_metered()
    assert port in _listening_ports(worker.program.pid)
    for pid in worker.program.descendants():
        assert port not in _listening_ports(pid)


def _listening_ports(pid: int) -> set[int]:
    """The ports of the listening sockets of a process."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {int(each[1].split(":")[1], 16) for each in fields if each[9] in inodes}


# --- what is wrong with the settings -----------------------------------------------------------


def test_a_port_in_use_is_exit_code_2_before_the_application_is_loaded(begin: Begin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = begin(f"--metrics-port={port}", ready=False)
        assert worker.program.wait() == 2
    assert f"--metrics-port {port}: cannot listen at 127.0.0.1:{port}" in worker.log.text
    assert "each worker of a machine needs its own" in worker.log.text
    assert "Traceback" not in worker.log.text


@pytest.mark.slow
def test_two_workers_of_a_machine_need_two_ports(begin_metered: BeginMetered, begin: Begin) -> None:
    worker, port = begin_metered()
    second = begin(f"--metrics-port={port}", ready=False)
    assert second.program.wait() == 2
    assert "each worker of a machine needs its own" in second.log.text
    assert scrape(port)("owsuper_slots") == 2
    assert worker.stop() == 0


def test_an_unknown_host_is_exit_code_2(begin: Begin) -> None:
    worker = begin("--metrics-port=9464", "--metrics-host=nowhere.invalid", ready=False)
    assert worker.program.wait() == 2
    assert "--metrics-host nowhere.invalid: there is no such host" in worker.log.text


def test_an_address_of_another_machine_is_exit_code_2(begin: Begin) -> None:
    worker = begin("--metrics-port=9464", "--metrics-host=192.0.2.1", ready=False)
    assert worker.program.wait() == 2
    assert "--metrics-host 192.0.2.1: this machine has no such address" in worker.log.text


def test_without_the_library_the_worker_says_how_to_install_it(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError('gone', name='prometheus_client')"
    )
    worker = begin("--metrics-port=9464", ready=False, PYTHONPATH=f"{tmp_path}:{Path.cwd()}")
    assert worker.program.wait() == 2
    assert "pip install 'owsuper[metrics]'" in worker.log.text


def test_a_worker_in_the_foreground_serves_no_metrics(begin: Begin) -> None:
    worker = begin("--foreground", "--metrics-port=9464", ready=False, OWSUPER_PROCESSES="")
    assert worker.program.wait() == 2
    assert "--foreground serves no metrics" in worker.log.text


# --- the queue ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_worker_asks_about_the_queue_and_another_takes_over(
    begin_metered: BeginMetered, conn: psycopg.Connection
) -> None:
    first, port = begin_metered("--processes=1", "--no-listen")
    for _ in range(3):
        first.start("unknown_here")
    first.start("later", due_in=3600)
    page = scrape_until(
        port, lambda page: page("owsuper_queue_due_runs", workflow="unknown_here") == 3
    )
    assert page("owsuper_queue_oldest_due_seconds", workflow="unknown_here") > 0
    due = page.values("owsuper_queue_due_runs", "workflow")
    assert (due["later"], due["record"]) == (0, 0)
    assert page("owsuper_queue_asked_timestamp_seconds") > 1e9
    second, other = begin_metered("--processes=1", OWSUPER_POLL_INTERVAL="1h")
    second.await_outcome(second.start("record", text="any"))
    assert "owsuper_queue_due_runs{" not in scrape(other).text
    # Sessions of other tests may still be ending.
    asks = "SELECT FROM pg_stat_activity WHERE application_name = 'owsuper metrics'"
    eventually(lambda: conn.execute(asks).rowcount == 1)
    assert first.stop() == 0
    scrape_until(other, lambda page: page("owsuper_queue_due_runs") == 3)


LIMITED = """
from owsuper import Concurrency

@ow.workflow("limited", limits=[Concurrency(1, key="key")])
def limited(step, input: dict):
    step.run("note", note, input["text"])
"""


@pytest.mark.slow
def test_waits_for_limits_are_counted_and_not_as_slow_pickups(
    begin_metered: BeginMetered, conn: psycopg.Connection, schema: str, tmp_path: Path
) -> None:
    limits = Limits(Tables(conn, schema))
    limits.declare("places", 1, path=["tenant"])  # of a workflow that another worker serves
    for tenant in "aab":
        limits.tables.pending(input={"tenant": tenant})
    limits.claim(10)
    (tmp_path / "flows.py").write_text(FLOWS + LIMITED)
    worker, port = begin_metered("--processes=1")
    worker.await_completed(worker.start("record", text="plain"))
    for text in "12":
        worker.await_completed(worker.start("limited", text=text, key="a"))
    page = scrape_until(port, lambda page: page("owsuper_limit_waiting_runs", limit="places") == 1)
    assert page("owsuper_limit_oldest_wait_seconds", limit="places") > 0
    assert page.values("owsuper_limit_wait_seconds_count", "workflow") == {"limited": 2}
    assert page.values("owsuper_pickup_latency_seconds_count", "workflow") == {"record": 1}
    assert "tenant" not in page.text  # keys are data


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.slow
def test_cancellations_retries_deadlines_and_polls_are_counted(
    begin_metered: BeginMetered, tmp_path: Path
) -> None:
    worker, port = begin_metered("--no-listen", "--poll-interval=100ms")
    worker.start("nobody_serves_this", deadline_at=datetime.now(UTC))
    canceled = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.cancel(canceled)
    (tmp_path / "go").touch()
    worker.await_completed(worker.start("die_once", how="raise ValueError('no')"))
    page = scrape_until(
        port,
        lambda page: (
            runs(page, "wait_for_file", "lost") == 1
            and page("owsuper_deadlines_missed_total") == 1
            and page("owsuper_step_retries_total") == 1
            and page("owsuper_polls_total", result="none") >= 1
        ),
    )
    assert page("owsuper_leases_lost_total") == 1
    assert page("owsuper_step_attempts_total", outcome="failed") == 1
    assert page("owsuper_step_retries_total", workflow="die_once", step="die") == 1
    assert page("owsuper_notifications_total") == 0
    while not scrape(port)("owsuper_polls_total", result="runs"):  # another claim may find it first
        worker.await_completed(worker.start("record", text="any"))
    assert page.values("owsuper_database_up", "connection") == {"claiming": 1}


@pytest.mark.slow
def test_an_outage_of_the_database_is_counted_and_does_not_stop_the_page(
    begin_metered: BeginMetered, proxy: Proxy
) -> None:
    worker, port = begin_metered("--processes=1", url=proxy.url)
    asked = "owsuper_queue_asked_timestamp_seconds"
    scrape_until(port, lambda page: page(asked) > 0)
    proxy.cut()
    page = scrape_until(port, lambda page: page("owsuper_database_up") == page(asked) == 0)
    assert page("owsuper_database_outages_total", connection="claiming") == 1
    assert page("owsuper_database_outages_total", connection="listening") == 1
    proxy.restore()
    scrape_until(port, lambda page: page("owsuper_database_up") == 2)
    worker.await_outcome(worker.start("record", text="after"))
    page = scrape_until(
        port, lambda page: runs(page, "record", "completed") == 1 and page(asked) > 0
    )
    assert page("owsuper_database_outages_total", connection="claiming") == 1


@pytest.mark.slow
def test_a_program_starts_a_worker_with_metrics(
    database_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    monkeypatch.chdir(tmp_path)
    port = free_port()
    with (
        closing(OpenWorkflow(database_url, schema=schema)) as ow,
        ow.new_worker(processes=1, modules=["flows"], metrics_port=port),
    ):
        assert scrape(port)("owsuper_slots") == 1
        with pytest.raises(ConfigurationError, match="metrics_port: must be a whole number"):
            ow.new_worker(modules=["flows"], metrics_port=70_000)
