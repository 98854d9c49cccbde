"""Repeats the actions of the client and the operator while a history was recorded."""

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
from tests.histories.flows import HISTORY, LOG, MODE
from tests.histories.rows import Labels, Row, normalized_row

TIMEOUT = 30.0
NOW = "<now+"


class HistoryDriver:
    """Runs the actions of one history. ``snapshots`` are the rows at the recorded moments."""

    def __init__(
        self, path: Path, mode: str, url: str, schema: str, spawn: Spawn, directory: Path
    ) -> None:
        self.history = json.loads(path.read_text())
        self.ow = OpenWorkflow(url, schema=schema)
        self.runs: dict[str, str] = {}
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.claims = 0  # claims in addition to those of the recording
        self.when_ready: Callable[[], None] | None = None  # called once the worker is ready
        self.is_right: Callable[[str, dict[str, Any]], bool] = lambda at, seen: True
        self._is_ready = False
        self._sent: list[list[str]] = []
        self._schema = schema
        self._conn = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._spawn = spawn
        self._directory = directory
        self._log = directory / "invocations"
        self._env = {
            "OWSUPER_DATABASE_URL": url,
            HISTORY: str(path),
            MODE: mode,
            LOG: str(self._log),
        }
        self._worker: Program | None = None

    def close(self) -> None:
        self._conn.close()
        self.ow.close()

    def run_actions(self) -> None:
        driver = list(self.history["driver"])
        has_deadline = "deadlineAt" in driver[0].get("options", {})
        if has_deadline and driver[1].get("action") == "start_worker":
            driver[:2] = reversed(driver[:2])  # a worker may take longer to start than the deadline
        for action in driver:
            # A run may be parked for less than a second, so a wait must not begin late.
            if action.get("action") != "wait":
                self._await_ready()
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
                    self._take_snapshot(action["at"])
                case None if "result_run_ids" in action:
                    assert len(self._sent[-1]) == action["result_run_ids"]
                case None if "check" in action:
                    pass  # counts executions of the body, which differ
                case other:
                    raise AssertionError(f"no such action: {other}: {action}")

    def invocations(self) -> dict[str, int]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return {line: lines.count(line) for line in sorted(set(lines))}

    def result(self, run: str) -> dict[str, Any]:
        """The result or the error that a client gets."""
        try:
            return {"value": self.ow.get_run(self.runs[run]).result(timeout=TIMEOUT)}
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
        self._is_ready = False
        if self.when_ready is not None:
            self._await_ready()
            self.when_ready()

    def _await_ready(self) -> None:
        if self._worker is not None and not self._is_ready:
            self._worker.stderr.wait_for("ready: ", timeout=TIMEOUT)
            self._is_ready = True

    def stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.terminate()
            assert self._worker.wait(TIMEOUT) == 0
            self._worker.end()
            self._worker = None

    def _cancel(self, action: dict[str, Any]) -> None:
        run = action["run"]
        if run not in self.runs:  # the child run, which is claimed first
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
        condition = CONDITIONS[what]
        give_up = time.monotonic() + TIMEOUT
        pause = threading.Event()
        while not condition(self, self.row(run) if run else {}):
            assert time.monotonic() < give_up, f"not true in time: {what} {self._snapshot()}"
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

    def _take_snapshot(self, at: str) -> None:
        """Keep the snapshot that is right, or the last: the worker may be slower than recorded."""
        give_up = time.monotonic() + 10
        self.snapshots[at] = self._snapshot()
        while not self.is_right(at, self.snapshots[at]) and time.monotonic() < give_up:
            threading.Event().wait(0.01)
            self.snapshots[at] = self._snapshot()

    def _snapshot(self) -> dict[str, Any]:
        runs, steps, signals = self.raw()
        labels = Labels(runs, steps, signals)
        labels.name_runs(self.runs)
        return {
            "workflow_runs": [normalized_row(row, labels) for row in runs],
            "step_attempts": [normalized_row(row, labels) for row in steps],
            "workflow_signals": [normalized_row(row, labels) for row in signals],
            "labels": labels.of,
            "raw": {row["id"]: row for row in (*runs, *steps)},
        }


def moment(text: str | None) -> Any:
    """The time that ``<now+900ms>`` means; other text is a duration and is returned as it is."""
    if text is None or not text.startswith(NOW):
        return text
    ms = float(text.removeprefix(NOW).removesuffix("ms>"))
    return datetime.now(UTC) + timedelta(milliseconds=ms)


# --- conditions to wait for ---------------------------------------------------------------------

Condition = Callable[[HistoryDriver, Row], bool]
ENDED = ("completed", "failed", "canceled")


def parked(row: Row) -> bool:
    return row["status"] == "running" and row["worker_id"] is None


CONDITIONS: dict[str, Condition] = {
    "terminal status": lambda _, row: row["status"] in ENDED,
    "parked (running with no worker_id)": lambda _, row: parked(row),
    "attempts >= 2 and parked": lambda driver, row: (
        row["attempts"] >= 2 + driver.claims and parked(row)
    ),
    "status pending with attempts >= 1": lambda _, row: (
        row["status"] == "pending" and row["attempts"] >= 1
    ),
    "status pending with attempts >= 2": lambda _, row: (
        row["status"] == "pending" and row["attempts"] >= 2
    ),
    "step attempt row exists": lambda driver, _: bool(
        driver.query("SELECT id FROM {s}.step_attempts LIMIT 1")
    ),
    "second wait row exists and run parked": lambda driver, _: (
        len(driver.query("SELECT id FROM {s}.step_attempts WHERE kind = 'signal-wait'")) == 2
        and parked(driver.row("main"))
    ),
    "child parked": lambda driver, _: any(map(parked, driver.children())),
    "child terminal": lambda driver, _: any(row["status"] in ENDED for row in driver.children()),
    "child run terminal": lambda driver, _: any(
        row["status"] in ENDED for row in driver.children()
    ),
}


# --- changes by SQL ---------------------------------------------------------------


def insert_attempt(driver: HistoryDriver, name: str, kind: str, **columns: Any) -> None:
    given = {
        "namespace_id": "default",
        "id": f"by-sql-{name}",
        "workflow_run_id": driver.runs["main"],
        "step_name": name,
        "kind": kind,
        "status": "running",
        "config": "{}",
    } | columns
    places = ", ".join(["%s"] * len(given))
    driver.query(
        f"INSERT INTO {{s}}.step_attempts ({', '.join(given)}, started_at, created_at, updated_at)"
        f" VALUES ({places}, now(), date_trunc('milliseconds', now()), now())",
        *given.values(),
    )
    mark_as_claimed(driver)


def mark_as_claimed(driver: HistoryDriver) -> None:
    """Mark the run as claimed: owsuper loads no history for a run that was never claimed."""
    driver.query("UPDATE {s}.workflow_runs SET attempts = 1")
    driver.claims = 1


def context(kind: str, **members: Any) -> str:
    return json.dumps({"kind": kind, **members})


def at(seconds: float) -> str:
    then = datetime.now(UTC) + timedelta(seconds=seconds)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_due(driver: HistoryDriver) -> None:
    driver.query("UPDATE {s}.workflow_runs SET available_at = now()")


def insert_crashed_run(driver: HistoryDriver) -> None:
    insert_attempt(driver, "a", "function", status="completed", output="41", finished_at=at(0))
    insert_attempt(driver, "b", "function")
    driver.query(
        "UPDATE {s}.workflow_runs SET status = 'running', attempts = 1, worker_id = 'dead',"
        " started_at = now(), available_at = now() - interval '1 s'"
    )
    driver.claims = 0  # as in the recording


def insert_attempt_without_child(driver: HistoryDriver) -> None:
    insert_attempt(driver, "kid", "workflow", context=context("workflow", timeoutAt=None))


def insert_two_waits(driver: HistoryDriver) -> None:
    for name in "ab":
        wait = context("signal-wait", signal="g", timeoutAt=at(3600))
        insert_attempt(driver, name, "signal-wait", context=wait)


def insert_sleep_and_wait(driver: HistoryDriver) -> None:
    """Hide the run until the worker is ready: a slow start must not use up the sleep."""
    driver.query("UPDATE {s}.workflow_runs SET available_at = now() + interval '1 h'")

    def insert() -> None:
        insert_attempt(driver, "s", "sleep", context=context("sleep", resumeAt=at(3)))
        wait = context("signal-wait", signal="g", timeoutAt=at(3600))
        insert_attempt(driver, "w", "signal-wait", context=wait)
        make_due(driver)

    driver.when_ready = insert


def insert_many(driver: HistoryDriver, count: int, prefix: str) -> None:
    driver.query(
        "INSERT INTO {s}.step_attempts (namespace_id, id, workflow_run_id, step_name, kind, status,"
        " config, started_at, finished_at, created_at, updated_at)"
        " SELECT 'default', gen_random_uuid(), %s, %s || n, 'function', 'completed', '{}', now(),"
        " now(), date_trunc('milliseconds', now()) + n * interval '1 ms', now()"
        " FROM generate_series(0, %s) AS n",
        *(driver.runs["main"], prefix, count - 1),
    )
    mark_as_claimed(driver)


EFFECTS: dict[str, Callable[[HistoryDriver], None]] = {
    "set available_at to now": make_due,
    "simulate a crashed worker: claimed run (attempts 1, worker_id set, lease in the past),"
    " a completed (output 41), b running": insert_crashed_run,
    "insert running workflow attempt 'kid', context {kind: workflow, timeoutAt: null},"
    " no child link": insert_attempt_without_child,
    "insert running signal-waits 'a' and 'b' on signal 'g', timeoutAt now+1h": insert_two_waits,
    "insert running sleep 's' with resumeAt now+900ms and running signal-wait 'w' on signal 'g'"
    " with timeoutAt now+1h": insert_sleep_and_wait,
    "insert 1000 completed function attempts": lambda driver: insert_many(driver, 1000, "p"),
    "insert 1003 completed function attempts named p0..p1002": lambda driver: insert_many(
        driver, 1003, "p"
    ),
}
