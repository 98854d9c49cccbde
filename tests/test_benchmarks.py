"""The benchmarks and ``owsuper bench`` run, and print figures."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from benchmarks import __main__ as command
from benchmarks import table, targets
from benchmarks.figures import Figure, latencies, quantile, ratio
from benchmarks.limits import CLIENTS, Limits
from benchmarks.machine import Machine
from benchmarks.server import Server
from benchmarks.suite import MEASUREMENTS
from tests.fixtures.processes import Program, Spawn

BENCHMARKS = [sys.executable, "-m", "benchmarks"]
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'bench_')"

FIRST_FIGURE = {
    "pickup": "pickup: run() to first line of user code, p50",
    "roundtrip": "round trip: run() to result(), 1 step, p50",
    "timers": "timers: lateness after sleep, poll interval 1h, p99",
    "throughput": "throughput: 10 steps, 2 processes × 16 slots: round trips",  # noqa: RUF001 - it multiplies
    "io": "async I/O: 50 runs that each await 1 s, beyond that second",
    "enqueue": "enqueue: arun() by 16 asyncio tasks, workers listening",
    "notify": "NOTIFY trigger: INSERT into workflow_runs, 1 client, with / without",
    "bulk": "run_many() of 500",
    "fanout": "fan-out: a parent of 50, beside run_many()",
    "cpu": "CPU-bound 100 ms steps, 2 processes / 1",
    "recovery": "recovery: SIGKILL in a step to that step running elsewhere, p99",
    "faults": "recovery: SIGSEGV in a step to that step running elsewhere, p50",
    "hosts": "2 workers: round trip: run() to result(), p50",
    "history": "history: waking a run with 30 finished steps, lateness",
    "supervisor": "worker of 2 processes: supervisor, resident",
    "payloads": "1 MB values: child, most resident",
    "dashboard": "dashboard of 10,000 runs: /runs, median",
    "parked": "wake-up, a table of 300 parked runs / an empty one",
    "backlog": "claim, a table of 10,000 finished runs / an empty one",
    "keys": "limits: other runs before a single run, 1,000 of another key waiting",
    "vacuum": "throughput beside a transaction open for 1 s: end / before",
    "churn": "throughput after 3,600 runs of churn: after / before",
    "retention": "owsuper prune, with its pauses",
    "rules": "rules: throughput, Concurrency by key",
}
"""For each measurement, a figure that a quick run has."""


def rows(program: Program) -> dict[str, list[str]]:
    """The cells of each line of the table, by the first cell."""
    lines = [line for line in program.stdout.text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in cells}


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.slow
@pytest.mark.once
def test_a_quick_run_has_figures_of_each_measurement_and_leaves_nothing_behind(
    spawn: Spawn, database_url: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    assert set(FIRST_FIGURE) == set(MEASUREMENTS)
    kept = command.RESULTS.read_bytes() if command.RESULTS.exists() else None
    environment = {"OWSUPER_DATABASE_URL": database_url}
    halves = [list(MEASUREMENTS)[half::2] for half in (0, 1)]  # two at once take half the time
    programs = [
        spawn(*BENCHMARKS, "--quick", *names, env=environment, cwd=tmp_path) for names in halves
    ]
    for program, names in zip(programs, halves, strict=True):
        assert program.wait(timeout=240) == 0, program.stderr.text
        program.end()
        measured = rows(program)
        assert measured["measured"] == [*table.HEAD[1:], "target", "met"]
        for name in names:
            assert number(measured[FIRST_FIGURE[name]][0]) > 0
        limits = [number(each[0]) for what, each in measured.items() if "limit: " in what]
        assert len(limits) == len(CLIENTS)
        assert min(limits) > 0
    assert conn.execute(SCHEMAS).fetchall() == []
    assert (command.RESULTS.read_bytes() if command.RESULTS.exists() else None) == kept


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_the_schema_is_gone_after_an_interrupt(
    signal_number: signal.Signals,
    spawn_owsuper: Spawn,
    database_url: str,
    conn: psycopg.Connection,
    tmp_path: Path,
) -> None:
    program = spawn_owsuper(
        *("bench", "pickup", "--database-url", database_url),
        cwd=tmp_path,
    )
    program.stderr.wait_for("measuring pickup")
    for _ in wait_until(conn, f"SELECT EXISTS ({SCHEMAS})"):
        pass
    program.signal(signal_number)
    assert program.wait() == 130
    program.end()
    assert "what was created is being dropped" in program.stderr.text
    assert "Traceback" not in program.stderr.text
    assert program.stdout.text == ""
    assert conn.execute(SCHEMAS).fetchall() == []


FIGURES_FOR_USERS = (
    "pickup: run() to the first line of its step, p50",
    "round trip: run() to result(), 1 step, p99",
    "throughput: 1 step, 2 processes with 1 slot",
    "throughput: 1 step, 2 processes with 16 slots",
    "enqueue: run() by 16 threads, worker busy",
    "enqueue: arun() by 16 asyncio tasks, worker busy",
    "recovery: SIGKILL in a step to the step running elsewhere, p50",
)


@pytest.mark.slow
@pytest.mark.once
def test_owsuper_bench_measures_the_users_database_and_leaves_nothing_behind(
    spawn_owsuper: Spawn, database_url: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    program = spawn_owsuper("bench", "--quick", "--database-url", database_url, cwd=tmp_path)
    assert program.wait(timeout=240) == 0, program.stderr.text
    program.end()
    described, head, *lines = program.stdout.text.splitlines()
    assert described.startswith("server_version ")
    assert head.split()[:2] == ["measured", "median"]
    medians = {re.split("  +", line)[0]: number(re.split("  +", line)[1]) for line in lines}
    assert set(FIGURES_FOR_USERS) <= set(medians)
    assert min(medians.values()) > 0
    assert conn.execute(SCHEMAS).fetchall() == []


def wait_until(conn: psycopg.Connection, query: str) -> Iterator[None]:
    """Yield until ``query`` returns true."""
    while conn.execute(query.encode()).fetchone() != (True,):
        yield


def test_a_measurement_that_does_not_exist_is_answered_by_those_that_do(
    spawn: Spawn, tmp_path: Path
) -> None:
    program = spawn(*BENCHMARKS, "pick-up", cwd=tmp_path)
    assert program.wait() == 2
    program.end()
    assert "no such measurement: pick-up; there are pickup, " in program.stderr.text
    assert "Traceback" not in program.stderr.text


def test_the_table_shows_median_spread_limit_and_its_target() -> None:
    figures = [
        Figure("pickup.run.p50", "pickup", "ms", (1.0, 3.0, 2.0), clients=1),
        Figure("cpu.ratio", "two processes", "ratio", (1.5,)),
    ]
    limits = Limits(Server("", ""), 1)
    limits.record({1: 2000.0, 2: 3000.0, 16: 12345.0})
    columns: table.Columns = {"target": targets.text, "met": targets.met}
    text = list(table.lines(Machine([("CPU", "fast")], ["NO!"]), figures, limits, columns))
    assert text[:4] == ["**NO!**", "", "    CPU  fast", ""]
    head, rule, first, second, *rest = (re.sub(" +", " ", line) for line in text[4:])
    assert head == "| measured | median | spread | unit | database's own limit | target | met |"
    assert re.fullmatch(r"\| -+ \| -+: \| -+: \| -+ \| -+ \| -+ \| -+ \|", rule)
    assert first == (
        "| pickup | 2.00 | 1.00 – 3.00 | ms | 0.50 ms/commit (1 client) | ≤ 2.50 | yes |"  # noqa: RUF001 - as in tables
    )
    assert second == "| two processes | 1.50 | | ratio | | ≥ 1.90 | NO |"
    assert rest[2].endswith("| 12,345 | | commits/s | | | |")


def test_quantiles_are_samples_and_ratios_those_of_the_medians() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(range(1, 301), 0.99) == 297
    p50, p99 = latencies("key", "name", [[0.001, 0.002, 0.003], [0.004] * 3])
    assert (p50.key, p50.values) == ("key.p50", (2.0, 4.0))
    assert (p99.key, p99.median) == ("key.p99", 3.5)
    both = ratio("key", "name", [10, 20, 90], [10, 10, 10])
    assert (both.median, both.spread) == (2, (1, 9))
