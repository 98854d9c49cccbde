"""Large values: memory at its peak, and the pick-up of small runs beside large ones.

A large run has an input, a result of a step and a result of its own of the same size. Two are
always under way. Their inputs are copied within the database, so that only the worker and
PostgreSQL have work with them, not the program that measures.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from owsuper.bench import pickup
from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure, latencies
from owsuper.bench.scratch import execute
from owsuper.bench.server import Connection, Server
from owsuper.bench.stage import PATIENCE, Stage, staged
from owsuper.bench.supervisor import children_of

PROCESSES, SLOTS = 2, 2
AT_ONCE = 2
WARM_UP = 5

_START = """
INSERT INTO {schema}.workflow_runs (
    namespace_id, id, workflow_name, status, config, input, attempts, available_at, created_at,
    updated_at
)
SELECT 'default', gen_random_uuid(), 'large', 'pending', '{{}}', value, 0, now(), now(), now()
  FROM {schema}.bench_value RETURNING id
"""


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    size = f"{effort.large / 1e6:g} MB"
    beside, peaks, counts = [], [], []
    for _ in range(effort.repetitions):
        with staged(server) as stage, stage.worker(PROCESSES, SLOTS) as worker:
            assert worker.pid is not None
            _store_value(stage, effort.large)
            with _large_runs(stage) as finished:
                pickup.samples(stage, pickup.by_run, WARM_UP)
                beside.append(pickup.samples(stage, pickup.by_run, max(10, effort.samples // 3)))
                _wait(finished)
            peaks.append(tuple(_peaks(worker.pid)))
            counts.append(len(finished))
    yield from latencies("payloads.pickup", f"pickup of small runs beside {size} values", beside)
    for at, whose in enumerate(("supervisor", "child")):
        values = tuple(each[at] for each in peaks if len(each) > at)
        if values:
            name = f"{size} values: {whose}, most resident"
            yield Figure(f"payloads.{whose}", name, "MB", values)
    yield Figure("payloads.runs", f"{size} values: completed meanwhile", "runs", tuple(counts))


def _store_value(stage: Stage, size: int) -> None:
    """A value of ``size`` bytes that does not compress to nothing."""
    stage.execute("CREATE TABLE {schema}.bench_value (value jsonb)")
    stage.execute(
        "INSERT INTO {schema}.bench_value SELECT to_jsonb(string_agg(md5(random()::text), ''))"
        " FROM generate_series(1, $1::integer)",
        size // 32,
    )


@contextmanager
def _large_runs(stage: Stage) -> Iterator[list[str]]:
    """Keep large runs going; the ids of those that were completed."""
    finished: list[str] = []
    over = threading.Event()

    def keep_going() -> None:
        with stage.server.connect() as conn:
            running = [_start(conn, stage.schema) for _ in range(AT_ONCE)]
            while not over.wait(0.02):
                for at, run_id in enumerate(running):
                    if _is_completed(conn, stage.schema, run_id):
                        finished.append(run_id)
                        running[at] = _start(conn, stage.schema)

    keeper = threading.Thread(target=keep_going, daemon=True)
    keeper.start()
    try:
        yield finished
    finally:
        over.set()
        keeper.join()


def _start(conn: Connection, schema: str) -> str:
    [(run_id,)] = execute(conn, _START, schema)
    return str(run_id)


def _is_completed(conn: Connection, schema: str, run_id: str) -> bool:
    query = "SELECT status FROM {schema}.workflow_runs WHERE namespace_id = 'default' AND id = $1"
    [(status,)] = execute(conn, query, schema, run_id)
    if status == "failed":
        raise BenchmarkError("a run with a large value failed")
    return bool(status == "completed")


def _wait(finished: list[str]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not finished:
        if time.monotonic() > give_up:
            raise BenchmarkError(f"no run with a large value was completed in {PATIENCE:g} s")
        time.sleep(0.02)


def _peaks(worker: int) -> Iterator[float]:
    """The most that was ever resident, in MB: of the supervisor, and of a child."""
    try:
        yield _peak_mb(worker)
        yield max(map(_peak_mb, children_of(worker)))
    except OSError:
        return  # no /proc


def _peak_mb(pid: int) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1.024e-3
