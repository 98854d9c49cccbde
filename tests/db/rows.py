"""Rows of OpenWorkflow's tables, made and read back without going through what is tested."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import pq
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from owsuper.core.model import StepKind, StepStatus, StepWrite
from owsuper.db.claims import Call

ME = "host:1:me"
OTHER = "host:2:other"
_JSON = ("config", "context", "input", "output", "error")


def from_now(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


class Tables:
    """The tables of one schema, in the namespace ``default`` unless a row says otherwise."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self.conn = conn
        self.schema = schema

    def run(self, **columns: Any) -> str:
        """Insert a run, by default one that ``ME`` executes; its id."""
        defaults = {
            "id": str(uuid4()),
            "workflow_name": "w",
            "status": "running",
            "worker_id": ME,
            "attempts": 1,
            "available_at": from_now(30),
            "started_at": from_now(-1),
        }
        return self._insert("workflow_runs", {**defaults, **columns})

    def parked(self, **columns: Any) -> str:
        """Insert a run that waits for another hour."""
        return self.run(**{"worker_id": None, "available_at": from_now(3600), **columns})

    def pending(self, **columns: Any) -> str:
        """Insert a run that is due and was never claimed."""
        defaults = {
            "status": "pending",
            "worker_id": None,
            "attempts": 0,
            "available_at": from_now(-1),
            "started_at": None,
        }
        return self.run(**{**defaults, **columns})

    def step(self, run_id: str, **columns: Any) -> str:
        """Insert a step attempt, by default a function that runs; its id."""
        defaults = {
            "id": str(uuid4()),
            "workflow_run_id": run_id,
            "step_name": "s",
            "kind": "function",
            "status": "running",
            "started_at": from_now(-1),
        }
        return self._insert("step_attempts", {**defaults, **columns})

    def signal_wait(self, run_id: str, signal: str = "go", **columns: Any) -> str:
        """Insert a step attempt that waits for a signal; its id."""
        context = {"kind": "signal-wait", "signal": signal}
        return self.step(run_id, kind="signal-wait", context=context, **columns)

    def child(self, parent_id: str, *, linked: bool = True, **columns: Any) -> str:
        """Insert a child run of a parent's running workflow step; its id."""
        step = self.step(parent_id, kind="workflow", context={"kind": "workflow"})
        return self.child_of_step(step, linked=linked, **columns)

    def child_of_step(self, step_id: str, *, linked: bool = True, **columns: Any) -> str:
        """As ``child``, of a step attempt that exists."""
        child = self.run(
            parent_step_attempt_namespace_id="default", parent_step_attempt_id=step_id, **columns
        )
        if linked:
            self.update(
                "step_attempts",
                step_id,
                child_workflow_run_namespace_id="default",
                child_workflow_run_id=child,
            )
        return child

    def describe(self, run_id: str, **attributes: str) -> None:
        """Insert attributes of a run, as another program would."""
        for name, value in attributes.items():
            self.conn.execute(
                f'INSERT INTO "{self.schema}".owsuper_run_attributes'.encode()
                + b" SELECT namespace_id, id, $1, $2, created_at"
                + f' FROM "{self.schema}".workflow_runs WHERE id = $3'.encode(),
                [name, value, run_id],
            )

    def update(self, table: str, row_id: str, **columns: Any) -> None:
        sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 2))
        self.conn.execute(
            f'UPDATE "{self.schema}".{table} SET {sets} WHERE id = $1'.encode(),
            [row_id, *columns.values()],
        )

    def fetch(self, row_id: str, table: str = "workflow_runs") -> dict[str, Any]:
        [row] = self.rows(table, f"id = '{row_id}'")
        return row

    def steps_of(self, run_id: str) -> list[dict[str, Any]]:
        return self.rows("step_attempts", f"workflow_run_id = '{run_id}'")

    def rows(self, table: str, where: str = "true") -> list[dict[str, Any]]:
        query = f'SELECT * FROM "{self.schema}".{table} WHERE {where}'
        with psycopg.RawCursor(self.conn, row_factory=dict_row) as cursor:
            return cursor.execute(query.encode()).fetchall()

    def count(self, table: str) -> int:
        return len(self.rows(table))

    def _insert(self, table: str, columns: dict[str, Any]) -> str:
        always = {
            "namespace_id": "default",
            "config": {},
            "created_at": from_now(-60),
            "updated_at": from_now(-60),
        }
        columns = {**always, **columns}
        values = [
            Jsonb(value) if name in _JSON and value is not None else value
            for name, value in columns.items()
        ]
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        query = f'INSERT INTO "{self.schema}".{table} ({", ".join(columns)}) VALUES ({places})'
        self.conn.execute(query.encode(), values)
        return str(columns["id"])


def step_write(
    status: StepStatus = StepStatus.COMPLETED, attempt_id: str | None = None, **fields: Any
) -> StepWrite:
    """A write of one function step, by default of one that completed with ``{"v": 1}``."""
    done = status is not StepStatus.RUNNING
    defaults: dict[str, Any] = {
        "attempt_id": attempt_id or str(uuid4()),
        "step_name": "s",
        "kind": StepKind.FUNCTION,
        "status": status,
        "started_at": from_now(-1),
        "finished_at": from_now(0) if done else None,
        "output_json": b'{"v": 1}' if status is StepStatus.COMPLETED else None,
    }
    return StepWrite(**{**defaults, **fields})


def perform_in_the_end(conn: psycopg.Connection, call: Call) -> list[tuple[bytes | None, ...]]:
    """``perform``, again and again while others hold a lock: as the supervisor does it."""
    while True:
        try:
            return perform(conn, call)
        except psycopg.DatabaseError as error:
            if "lock timeout" not in str(error):
                raise


def perform(conn: psycopg.Connection, call: Call) -> list[tuple[bytes | None, ...]]:
    """Execute what is meant for a Link: text-format parameters and rows."""
    statement, params = call
    result = conn.pgconn.exec_params(
        statement.text.encode(), [str(param).encode() for param in params]
    )
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise psycopg.DatabaseError(result.get_error_message())
    columns: Sequence[int] = range(result.nfields)
    return [tuple(result.get_value(n, m) for m in columns) for n in range(result.ntuples)]
