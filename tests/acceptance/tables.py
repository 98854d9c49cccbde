"""The tables, read by plain SQL."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

import psycopg

from tests.acceptance.executions import TIMEOUT

COMMIT = 1.0  # seconds from the beginning of a transaction to its commit, on a busy machine


@dataclass(frozen=True, slots=True)
class Run:
    """A row of ``workflow_runs``."""

    id: str
    status: str
    worker_id: str | None
    output: Any
    error: dict[str, Any] | None
    attempts: int


def eventually(what: str, condition: Callable[[], bool], *, timeout: float = TIMEOUT) -> None:
    """Poll until ``condition()`` is true, for rows of the database."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not true after {timeout:g} s: {what}"
        pause.wait(0.02)


class Tables:
    """A schema, over a connection that is opened on demand, also after an outage."""

    def __init__(self, url: str, schema: str) -> None:
        self.schema = schema
        self.conninfo = url  # of this object's own connection
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def query(self, text: str, *params: object) -> list[tuple[Any, ...]]:
        """The rows of a query, repeated while the server restarts. Replaces ``{schema}``."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg.connect(
                        self.conninfo, autocommit=True, cursor_factory=psycopg.RawCursor
                    )
                cursor = self._connection.execute(
                    text.replace("{schema}", f'"{self.schema}"').encode(), params
                )
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self.disconnect()
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def start(self, workflow: str, *inputs: dict[str, Any], due_in: float = 0) -> list[str]:
        """Insert runs as OpenWorkflow for TypeScript does."""
        ids = [str(uuid4()) for _ in inputs]
        self.query(
            """
            INSERT INTO {schema}.workflow_runs (
                namespace_id, id, workflow_name, status, config, input, attempts,
                available_at, created_at, updated_at
            )
            SELECT
                'default', id, $1, 'pending', '{}', input::jsonb, 0,
                now() + $2 * interval '1 second',
                date_trunc('milliseconds', now()), now()
            FROM unnest($3::text[], $4::text[]) AS a (id, input)
            ON CONFLICT DO NOTHING
            """,
            workflow,
            due_in,
            ids,
            [json.dumps(each) for each in inputs],
        )
        return ids

    def runs(self, run_ids: Sequence[str]) -> list[Run]:
        rows = self.query(
            """
            SELECT id, status, worker_id, output, error, attempts
            FROM {schema}.workflow_runs WHERE id = ANY ($1)
            """,
            list(run_ids),
        )
        return [Run(*row) for row in rows]

    def run(self, run_id: str) -> Run:
        [run] = self.runs([run_id])
        return run

    def recorded(self, run_ids: Sequence[str]) -> dict[tuple[str, str], Any]:
        """The results of completed steps by (run, step). Fails if a step has two."""
        rows = self.query(
            """
            SELECT workflow_run_id, step_name, output FROM {schema}.step_attempts
            WHERE status = 'completed' AND kind = 'function' AND workflow_run_id = ANY ($1)
            """,
            list(run_ids),
        )
        found = {(run, step): output for run, step, output in rows}
        assert len(found) == len(rows), "a step was completed twice"
        return found

    def committed(self, run_ids: Collection[str]) -> dict[tuple[str, str], float]:
        """When at the latest each completed step was committed, on ``time.monotonic``."""
        rows = self.query(
            """
            SELECT workflow_run_id, step_name, extract(epoch FROM updated_at)::float8
            FROM {schema}.step_attempts
            WHERE status = 'completed' AND kind = 'function' AND workflow_run_id = ANY ($1)
            """,
            list(run_ids),
        )
        clock = time.time() - time.monotonic()
        return {(run, step): began + COMMIT - clock for run, step, began in rows}

    def leased(self) -> list[str]:
        """The runs that a worker holds."""
        rows = self.query(
            """
            SELECT id FROM {schema}.workflow_runs
            WHERE status IN ('pending', 'running', 'sleeping') AND worker_id IS NOT NULL
            """
        )
        return [run for (run,) in rows]

    def crashes(self) -> list[str]:
        """The runs that are charged with the death of a process."""
        return [
            run for (run,) in self.query("SELECT workflow_run_id FROM {schema}.owsuper_crashes")
        ]

    # --- waiting -----------------------------------------------------------------------------

    def ended(self, run_ids: Sequence[str]) -> Callable[[], bool]:
        """A function that returns whether all of these runs have ended."""
        unfinished = """
            SELECT id FROM {schema}.workflow_runs
            WHERE id = ANY ($1) AND status IN ('pending', 'running', 'sleeping') LIMIT 1
        """
        return lambda: not self.query(unfinished, list(run_ids))

    def wait_until_ended(self, run_ids: Sequence[str], *, timeout: float = TIMEOUT) -> None:
        eventually("all runs ended", self.ended(run_ids), timeout=timeout)

    def wait_until_few_are_left(self, run_ids: Sequence[str], few: int) -> None:
        """Wait until at most ``few`` of these runs have not ended."""
        unfinished = """
            SELECT count(*) FROM {schema}.workflow_runs
            WHERE id = ANY ($1) AND status IN ('pending', 'running', 'sleeping')
        """
        eventually("few runs are left", lambda: self.query(unfinished, run_ids)[0][0] <= few)

    def wait_until_recorded(self, run_ids: Sequence[str], count: int) -> None:
        """Wait until this many steps of these runs are committed."""
        eventually(f"{count} steps are committed", lambda: len(self.recorded(run_ids)) >= count)

    def wait_until_parked(self, run_ids: Sequence[str]) -> None:
        """Wait until all of these runs have begun and are parked."""
        eventually(
            "all runs are parked",
            lambda: all(run.attempts and run.worker_id is None for run in self.runs(run_ids)),
        )
