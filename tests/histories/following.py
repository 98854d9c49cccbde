"""What was done from outside while a history was recorded, done again."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from owsuper import OpenWorkflow
from owsuper.errors import RunError
from tests.fixtures.processes import Program, Spawn
from tests.histories.flows import COLOUR, HISTORY, LOG
from tests.histories.rows import Labels, Row, one

PATIENCE = 30.0
NOW = "<now+"


class Follower:
    """Goes through the driver of one history; ``snapshots`` are what was stored then."""

    def __init__(
        self, path: Path, colour: str, url: str, schema: str, spawn: Spawn, directory: Path
    ) -> None:
        self.history = json.loads(path.read_text())
        self.ow = OpenWorkflow(url, schema=schema)
        self.runs: dict[str, str] = {}
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.claims = 0  # more than were made while the history was recorded
        self._sent: list[list[str]] = []
        self._schema = schema
        self._conn = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._spawn = spawn
        self._directory = directory
        self._log = directory / "invocations"
        self._env = {
            "OWSUPER_DATABASE_URL": url,
            HISTORY: str(path),
            COLOUR: colour,
            LOG: str(self._log),
        }
        self._worker: Program | None = None

    def close(self) -> None:
        self._conn.close()
        self.ow.close()

    def follow(self) -> None:
        driver = list(self.history["driver"])
        has_deadline = "deadlineAt" in driver[0].get("options", {})
        if has_deadline and driver[1].get("action") == "start_worker":
            driver[:2] = reversed(driver[:2])  # a worker takes longer to start than it has
        for action in driver:
            match action.get("action"):
                case "start":
                    self._start(action)
                case "start_worker":
                    self._start_worker(action["concurrency"])
                case "stop_worker":
                    self.stop_worker()
                case "wait":
                    self._wait(action["for"], action.get("run"))
                case "sleep_ms":
                    threading.Event().wait(action["ms"] / 1000)
                case "cancel" | "cancel again (idempotent)":
                    self._cancel(action)
                case "client_send_signal":
                    key = action.get("idempotencyKey")
                    self._sent.append(
                        self.ow.send_signal(
                            action["signal"], action.get("data"), idempotency_key=key
                        )
                    )
                case "sql":
                    EFFECTS[action["effect"]](self)
                case "snapshot":
                    self.snapshots[action["at"]] = self._snapshot()
                case None if "result_run_ids" in action:
                    assert len(self._sent[-1]) == action["result_run_ids"]
                case None if "check" in action:
                    pass  # of how often the body was executed before it had to be
                case other:
                    raise AssertionError(f"no such action: {other}: {action}")

    def invocations(self) -> dict[str, int]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return {line: lines.count(line) for line in sorted(set(lines))}

    def result(self, run: str) -> dict[str, Any]:
        """What a client is told."""
        try:
            return {"value": self.ow.get_run(self.runs[run]).result(timeout=PATIENCE)}
        except RunError as error:
            return {"error": error}

    # --- actions -----------------------------------------------------------------------------

    def _start(self, action: dict[str, Any]) -> None:
        options = action.get("options", {})
        handle = self.ow.run_workflow(
            action["workflow"],
            None if action["input"] == {"$undefined": True} else action["input"],
            version=next(
                each.get("version")
                for each in self.history["workflows"]
                if each["name"] == action["workflow"]
            ),
            idempotency_key=options.get("idempotencyKey"),
            available_at=moment(options.get("availableAt")),
            deadline_at=moment(options.get("deadlineAt")),
        )
        self.runs[action["as"]] = handle.id

    def _start_worker(self, concurrency: int) -> None:
        self._worker = self._spawn(
            *("--module", "tests.histories.flows", "--schema", self._schema),
            *("--processes", "1", "--concurrency", str(concurrency)),
            env=self._env,
            cwd=self._directory,
        )
        self._worker.stderr.wait_for("ready: ", timeout=PATIENCE)

    def stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.terminate()
            assert self._worker.wait(PATIENCE) == 0
            self._worker.end()
            self._worker = None

    def _cancel(self, action: dict[str, Any]) -> None:
        run = action["run"]
        if run not in self.runs:  # the child; it was claimed by then
            self._wait("child parked", None)
            self.runs[run] = self.children()[0]["id"]
        run_id = self.runs.pop(run) if run == "child" else self.runs[run]
        handle = self.ow.get_run(run_id)
        if (message := action.get("error_message")) is None:
            handle.cancel()
        else:
            message = re.escape(message.replace("<run:main>", self.runs["main"]))
            with pytest.raises(RunError, match=f"^{message}$"):
                handle.cancel()

    def _wait(self, what: str, run: str | None) -> None:
        is_so = CONDITIONS[what]
        give_up = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not is_so(self, self.row(run) if run else {}):
            assert time.monotonic() < give_up, f"waited in vain: {what} {self._snapshot()}"
            pause.wait(0.01)

    # --- rows --------------------------------------------------------------------------------

    def query(self, text: str, *params: object) -> list[Row]:
        cursor = self._conn.execute(text.replace("{s}", f'"{self._schema}"').encode(), params)
        return cursor.fetchall() if cursor.description else []

    def row(self, run: str) -> Row:
        [row] = self.query("SELECT * FROM {s}.workflow_runs WHERE id = %s", self.runs[run])
        return row

    def children(self) -> list[Row]:
        return self.query(
            "SELECT * FROM {s}.workflow_runs WHERE parent_step_attempt_id IS NOT NULL"
        )

    def raw(self) -> tuple[list[Row], list[Row], list[Row]]:
        runs = self.query("SELECT * FROM {s}.workflow_runs")
        steps = self.query("SELECT * FROM {s}.step_attempts ORDER BY created_at, started_at, id")
        signals = self.query("SELECT * FROM {s}.workflow_signals ORDER BY created_at, id")
        return runs, steps, signals

    def _snapshot(self) -> dict[str, Any]:
        runs, steps, signals = self.raw()
        labels = Labels(runs, steps, signals)
        labels.name_runs(self.runs)
        return {
            "workflow_runs": [one(row, labels) for row in runs],
            "step_attempts": [one(row, labels) for row in steps],
            "workflow_signals": [one(row, labels) for row in signals],
            "labels": labels.of,
            "raw": {row["id"]: row for row in (*runs, *steps)},
        }


def moment(text: str | None) -> Any:
    """``<now+900ms>``, or a duration as it is."""
    if text is None or not text.startswith(NOW):
        return text
    ms = float(text.removeprefix(NOW).removesuffix("ms>"))
    return datetime.now(UTC) + timedelta(milliseconds=ms)


# --- what is waited for ---------------------------------------------------------------------

Condition = Callable[[Follower, Row], bool]
ENDED = ("completed", "failed", "canceled")


def parked(row: Row) -> bool:
    return row["status"] == "running" and row["worker_id"] is None


CONDITIONS: dict[str, Condition] = {
    "terminal status": lambda _, row: row["status"] in ENDED,
    "parked (running with no worker_id)": lambda _, row: parked(row),
    "attempts >= 2 and parked": lambda world, row: (
        row["attempts"] >= 2 + world.claims and parked(row)
    ),
    "status pending with attempts >= 1": lambda _, row: (
        row["status"] == "pending" and row["attempts"] >= 1
    ),
    "status pending with attempts >= 2": lambda _, row: (
        row["status"] == "pending" and row["attempts"] >= 2
    ),
    "step attempt row exists": lambda world, _: bool(
        world.query("SELECT id FROM {s}.step_attempts LIMIT 1")
    ),
    "second wait row exists and run parked": lambda world, _: (
        len(world.query("SELECT id FROM {s}.step_attempts WHERE kind = 'signal-wait'")) == 2
        and parked(world.row("main"))
    ),
    "child parked": lambda world, _: any(map(parked, world.children())),
    "child terminal": lambda world, _: any(row["status"] in ENDED for row in world.children()),
    "child run terminal": lambda world, _: any(row["status"] in ENDED for row in world.children()),
}


# --- what was changed by hand ---------------------------------------------------------------


def attempt(world: Follower, name: str, kind: str, **columns: Any) -> None:
    given = {
        "namespace_id": "default",
        "id": f"by-hand-{name}",
        "workflow_run_id": world.runs["main"],
        "step_name": name,
        "kind": kind,
        "status": "running",
        "config": "{}",
    } | columns
    places = ", ".join(["%s"] * len(given))
    world.query(
        f"INSERT INTO {{s}}.step_attempts ({', '.join(given)}, started_at, created_at, updated_at)"
        f" VALUES ({places}, now(), date_trunc('milliseconds', now()), now())",
        *given.values(),
    )
    claimed_before(world)


def claimed_before(world: Follower) -> None:
    """Here, a run that was never claimed cannot have a history, and none is looked for."""
    world.query("UPDATE {s}.workflow_runs SET attempts = 1")
    world.claims = 1


def context(kind: str, **members: Any) -> str:
    return json.dumps({"kind": kind, **members})


def at(seconds: float) -> str:
    then = datetime.now(UTC) + timedelta(seconds=seconds)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def due_now(world: Follower) -> None:
    world.query("UPDATE {s}.workflow_runs SET available_at = now()")


def crashed(world: Follower) -> None:
    attempt(world, "a", "function", status="completed", output="41", finished_at=at(0))
    attempt(world, "b", "function")
    world.query(
        "UPDATE {s}.workflow_runs SET status = 'running', attempts = 1, worker_id = 'dead',"
        " started_at = now(), available_at = now() - interval '1 s'"
    )
    world.claims = 0  # it is so in the recorded one, too


def no_link(world: Follower) -> None:
    attempt(world, "kid", "workflow", context=context("workflow", timeoutAt=None))


def two_waits(world: Follower) -> None:
    for name in "ab":
        wait = context("signal-wait", signal="g", timeoutAt=at(3600))
        attempt(world, name, "signal-wait", context=wait)


def sleep_and_wait(world: Follower) -> None:
    attempt(world, "s", "sleep", context=context("sleep", resumeAt=at(3)))
    wait = context("signal-wait", signal="g", timeoutAt=at(3600))
    attempt(world, "w", "signal-wait", context=wait)


def many(world: Follower, count: int, prefix: str) -> None:
    world.query(
        "INSERT INTO {s}.step_attempts (namespace_id, id, workflow_run_id, step_name, kind, status,"
        " config, started_at, finished_at, created_at, updated_at)"
        " SELECT 'default', gen_random_uuid(), %s, %s || n, 'function', 'completed', '{}', now(),"
        " now(), date_trunc('milliseconds', now()) + n * interval '1 ms', now()"
        " FROM generate_series(0, %s) AS n",
        *(world.runs["main"], prefix, count - 1),
    )
    claimed_before(world)


EFFECTS: dict[str, Callable[[Follower], None]] = {
    "set available_at to now": due_now,
    "simulate a crashed worker: claimed run (attempts 1, worker_id set, lease in the past),"
    " a completed (output 41), b running": crashed,
    "insert running workflow attempt 'kid', context {kind: workflow, timeoutAt: null},"
    " no child link": no_link,
    "insert running signal-waits 'a' and 'b' on signal 'g', timeoutAt now+1h": two_waits,
    "insert running sleep 's' with resumeAt now+900ms and running signal-wait 'w' on signal 'g'"
    " with timeoutAt now+1h": sleep_and_wait,
    "insert 1000 completed function attempts": lambda world: many(world, 1000, "p"),
    "insert 1003 completed function attempts named p0..p1002": lambda world: many(world, 1003, "p"),
}
