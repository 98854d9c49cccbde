"""A schema with runs of every state: those of a real worker, and rows as TypeScript writes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from owsuper import OpenWorkflow
from tests.dashboard.browser.odd import HOSTILE, LONG, MARKUP, RIGHT_TO_LEFT
from tests.fixtures.processes import Program, Spawn, owsuper_command

SHOP = "tests.dashboard.browser.shop"
ODD = "tests.dashboard.browser.odd"
FROM_TYPESCRIPT = 120
PATIENCE = 60.0  # seconds

# Runs as OpenWorkflow for TypeScript stores them: worker ids are UUIDs, errors have a stack.
_TYPESCRIPT = """
WITH made AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, config, context, input, output, error,
        attempts, worker_id, available_at, started_at, finished_at, created_at, updated_at
    )
    SELECT 'default', gen_random_uuid(), 'ts-import', NULL,
        CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END, '{{}}', NULL,
        jsonb_build_object('page', n),
        CASE WHEN n % 10 <> 0 THEN '{{"rows": 7}}'::jsonb END,
        CASE WHEN n % 10 = 0 THEN jsonb_build_object('name', 'TypeError', 'message',
            'fetch failed', 'stack', E'TypeError: fetch failed\\n    at fetch (index.ts:7:1)') END,
        1, gen_random_uuid(), NULL, at, at + interval '1 second', at, at + interval '1 second'
    FROM (SELECT n, now() - n * interval '5 minutes' AS at FROM generate_series(1, $1) AS n) AS made
    RETURNING *
)
INSERT INTO {schema}.step_attempts (
    namespace_id, id, workflow_run_id, step_name, kind, status, config, context, output, error,
    started_at, finished_at, created_at, updated_at
)
SELECT 'default', gen_random_uuid(), id, 'fetch-page', 'function', status, '{{}}', NULL, output,
    error, started_at, finished_at, created_at, updated_at
FROM made
"""


class World:
    """``runs`` are the ids of runs, each under the name of its state."""

    def __init__(self, url: str, schema: str, conn: psycopg.Connection, directory: Path) -> None:
        self.url = url
        self.schema = schema
        self.directory = directory
        self.conn = conn
        self.runs: dict[str, str] = {}
        self.ow = OpenWorkflow(url, schema=schema)
        self.env = {"OWSUPER_DATABASE_URL": url, "OWSUPER_SCHEMA": schema}
        self._made = 0

    def start(self, state: str, workflow: str, input: Any, **options: Any) -> str:
        """Start a run by name, and keep its id under ``state``."""
        handle = self.ow.run_workflow(workflow, input, **options)
        self.runs[state] = handle.id
        return handle.id

    def gate(self) -> Path:
        """A file that does not exist: a run of ``bake`` with it runs until it does."""
        self._made += 1
        return self.directory / f"gate-{self._made}"

    def open_gates(self) -> None:
        """Let the runs of ``bake`` end."""
        for number in range(1, self._made + 1):
            (self.directory / f"gate-{number}").touch()

    def fetch(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        return self.conn.execute(query.format(schema=self.schema).encode(), params).fetchall()

    def wait_until(self, run_id: str, condition: str) -> None:
        """Wait until the SQL ``condition`` holds for the run. The database can only be polled."""
        query = f"SELECT FROM {{schema}}.workflow_runs WHERE id = $1 AND ({condition})"
        deadline = time.monotonic() + PATIENCE
        while not self.fetch(query, run_id):
            assert time.monotonic() < deadline, (condition, self.ow.get_run(run_id).why())
            time.sleep(0.02)

    def fill(self) -> None:
        """Start one run for each state, and wait until each is in its state."""
        # Alone: what a crash interrupts is executed alone afterwards, which would take time.
        self.start("crashed", "resize-image", "cat.png")
        self.wait_until(self.runs["crashed"], "status = 'failed'")
        gate = self.gate()
        self.start("completed", "order", {"item": "bread"}, version="2", idempotency_key="order:7")
        self.start("running", "bake", str(gate))
        self.start("sleeping", "subscription", None)
        self.start("waiting", "approval", "expense-7")
        self.start("failed", "refund", {"amount": 40})
        self.start("parent", "family", ["ada", "bob"])
        self.start("unserved", "nobody-has-this", {"n": 1})
        self.conn.execute(_TYPESCRIPT.format(schema=self.schema).encode(), [FROM_TYPESCRIPT])
        [(typescript,)] = self.fetch(
            "SELECT id FROM {schema}.workflow_runs WHERE workflow_name = 'ts-import'"
            " AND status = 'failed' ORDER BY created_at DESC LIMIT 1"
        )
        self.runs["typescript"] = typescript
        self.wait_until(self.runs["failed"], "status = 'failed'")
        self.wait_until(self.runs["completed"], "status = 'completed'")
        parked = "worker_id IS NULL AND available_at > now() + interval '1 minute'"
        for state in ("sleeping", "waiting", "parent"):
            self.wait_until(self.runs[state], parked)
        self.deliver("blue")
        self.deliver("red")
        self.runs["limited"] = self.deliver("blue")
        self.schedule("nightly report", "0 3 * * 1-5", timezone="Europe/Berlin")
        self.schedule("poll the shop", every="15m", paused=True, overlap="queue")
        self.ow.schedules.trigger("nightly report")
        in_oven = (
            "EXISTS (SELECT FROM {schema}.step_attempts AS step"
            " WHERE step.workflow_run_id = workflow_runs.id AND step_name = 'oven')"
        )
        self.wait_until(self.runs["running"], in_oven)

    def deliver(self, tenant: str) -> str:
        """Start a run of a limited workflow, and wait until it has its place, or waits for one."""
        run = self.ow.run_workflow("deliver", {"tenant": tenant}).id
        self.wait_until(run, "available_at > now() + interval '1 minute'")
        return run

    def schedule(self, name: str, cron: str | None = None, **timing: Any) -> None:
        """Make a schedule that has no tick soon."""
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        self.ow.schedules.create(name, "scheduled", cron, start=tomorrow, **timing)

    def provoke(self) -> None:
        """Start runs whose names and values are more than a page may like."""
        self.start("large", "export", LONG)
        self.start("hostile", f"{MARKUP} {RIGHT_TO_LEFT}", HOSTILE)
        self.deliver(MARKUP)
        self.schedule(f"{MARKUP} {RIGHT_TO_LEFT}", every="1d", input=HOSTILE)
        self.wait_until(self.runs["large"], "status = 'completed'")
        self.wait_until(self.runs["hostile"], "status = 'failed'")


def start_worker(world: World, spawn: Spawn, *modules: str) -> Program:
    """Start a worker of ``world`` with two child processes, which serves ``modules``."""
    program = spawn(
        *owsuper_command(),
        *("--processes", "2", "--concurrency", "4", "--max-crashes", "1", "--keep-logs", "1d"),
        *(word for module in modules for word in ("--module", module)),
        env=world.env,
        cwd=world.directory,
    )
    program.stderr.wait_for(r"ready: ")
    return program


@contextmanager
def worker(world: World, spawn: Spawn, *modules: str) -> Iterator[Program]:
    """As ``start_worker``; it drains at the end."""
    program = start_worker(world, spawn, *modules)
    yield program
    program.terminate()
    assert program.wait() == 0, program.stderr.text
