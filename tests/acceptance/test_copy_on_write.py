"""Children share what the application has imported, also after work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.processes import Spawn
from tests.supervisor.worker import Worker

CHILDREN = 8
RUNS = int(os.environ.get("OWSUPER_TEST_SHARING_RUNS", "400"))

# Some 200 MB in two million objects that the garbage collector visits.
APPLICATION = """
import gc, random
from owsuper import OpenWorkflow

ow = OpenWorkflow()
CATALOG = {f"item {number}": [number, {"price": number}] for number in range(600_000)}

@ow.workflow
def work(step, input: dict):
    def look():
        for _ in range(1000):  # objects that are soon garbage, and cycles among them
            made = [CATALOG.get(f"missing {random.random()}")]
            made.append(made)
        gc.collect()
        return CATALOG[f"item {random.randrange(1000)}"]
    return [step.run(f"look {number}", look) for number in range(3)]
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc")
def test_eight_children_need_little_more_memory_than_one(
    spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    (tmp_path / "flows.py").write_text(APPLICATION)
    program = spawn_owsuper(
        *("--module=flows", f"--processes={CHILDREN}", "--log-level=debug"),
        env={"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema},
        cwd=tmp_path,
    )
    worker = Worker(program, conn, schema, tmp_path)
    worker.log.wait_for(": ready: ", timeout=60)
    for run in [worker.start("work") for _ in range(RUNS)]:
        worker.await_completed(run)
    children = worker.children()
    memory = [kilobytes(pid) for pid in children]
    shares, one = sum(each["Pss"] for each in memory), max(each["Rss"] for each in memory)
    print(f"PSS of {CHILDREN}: {shares / 1024:.0f} MB; RSS of one: {one / 1024:.0f} MB")
    assert len(children) == CHILDREN
    assert one > 200 * 1024
    assert shares < 1.5 * one
    assert worker.stop() == 0


def kilobytes(pid: int) -> dict[str, int]:
    """Return the lines of smaps_rollup by name."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}
