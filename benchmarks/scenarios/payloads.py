"""Large values: peak memory, and the pickup of small runs beside large ones.

A large run has an input, a step result and a result of the same size. Two are always under way.
Their inputs are copied within the database, so that only the worker and PostgreSQL work with
them, not the program that measures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from benchmarks.costs import children_of, peak_mb
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, latencies
from benchmarks.scenarios import pickup
from benchmarks.server import Connection, Server, execute
from benchmarks.sizes import Sizes
from owsuper.bench.samples import WAIT_SECONDS, BenchmarkError

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


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    size = f"{sizes.large_bytes / 1e6:g} MB"
    beside, peaks, counts = [], [], []
    for _ in range(sizes.repetitions):
        with environment(server) as env, env.worker(PROCESSES, SLOTS) as worker:
            assert worker.pid is not None
            _store_value(env, sizes.large_bytes)
            with _large_runs(env) as finished:
                pickup.samples(env, pickup.by_run, WARM_UP)
                beside.append(pickup.samples(env, pickup.by_run, max(10, sizes.samples // 3)))
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


def _store_value(env: Environment, size: int) -> None:
    """Store a value of ``size`` bytes that hardly compresses."""
    env.execute("CREATE TABLE {schema}.bench_value (value jsonb)")
    env.execute(
        "INSERT INTO {schema}.bench_value SELECT to_jsonb(string_agg(md5(random()::text), ''))"
        " FROM generate_series(1, $1::integer)",
        size // 32,
    )


@contextmanager
def _large_runs(env: Environment) -> Iterator[list[str]]:
    """Keep large runs going. Yields the ids of the completed ones, a list that grows."""
    finished: list[str] = []
    over = threading.Event()

    def keep_going() -> None:
        with env.server.connect() as conn:
            running = [_start(conn, env.schema) for _ in range(AT_ONCE)]
            while not over.wait(0.02):
                for at, run_id in enumerate(running):
                    if _is_completed(conn, env.schema, run_id):
                        finished.append(run_id)
                        running[at] = _start(conn, env.schema)

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
    give_up = time.monotonic() + WAIT_SECONDS
    while not finished:
        if time.monotonic() > give_up:
            raise BenchmarkError(f"no run with a large value was completed in {WAIT_SECONDS:g} s")
        time.sleep(0.02)


def _peaks(worker: int) -> Iterator[float]:
    """Peak resident memory in MB: of the supervisor, and of a child."""
    try:
        yield peak_mb(worker)
        yield max(map(peak_mb, children_of(worker)))
    except OSError:
        return  # no /proc
