"""The whole worker as a real process on a real database."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from owsuper.db.clients import ClientQueries, RunRow
from owsuper.db.new_runs import NewRun
from tests.fixtures.processes import Program

FLOWS = """
import asyncio, os, re, signal, threading, time
from pathlib import Path
from owsuper import OpenWorkflow

ow = OpenWorkflow()

def note(text):
    with open("effects", "a") as effects:
        effects.write(text + "\\n")

@ow.workflow
def record(step, input: dict):
    step.run("record", note, input["text"])
    return os.getpid()

@ow.workflow
def wait_for_file(step, input: dict):
    def wait():
        note("waiting")
        while not Path(input["path"]).exists():
            time.sleep(0.01)
    step.run("wait", wait)
    step.run("after", note, "after")

@ow.workflow
async def wait_for_ever(step, input: dict):
    async def wait():
        note("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            note("cancelled")
    await step.run("wait", wait)

@ow.workflow
def die_once(step, input: dict):
    step.run("before", note, "before")
    def die():
        if not Path("died").exists():
            Path("died").touch()
            exec(input["how"])
        note("survived")
    step.run("die", die)

@ow.workflow
def die(step, input: dict):
    def die():
        note("dying")
        exec(input["how"])
    step.run("die", die)

@ow.workflow
def hold_the_gil(step, input: dict):
    def hold():
        note("holding")
        end = time.monotonic() + input["seconds"]
        while time.monotonic() < end:
            re.match("(a*)*b", "a" * 22)  # in C, holding the GIL
    step.run("hold", hold)

@ow.workflow
def environment(step):
    return {name: value for name, value in os.environ.items() if name.startswith("OWSUPER_")}
"""

# The second child is not ready before there is a file "go".
SLOW_SECOND_CHILD = """
import time
from pathlib import Path
import owsuper.child.main

serve = owsuper.child.main.serve

def serve_later(spec):
    try:
        Path("first").mkdir()
    except FileExistsError:
        while not Path("go").exists():
            time.sleep(0.01)
    serve(spec)

owsuper.child.main.serve = serve_later
"""

# Makes the terminal sys.argv[1] that of this session, which has none, and executes the rest.
IN_TERMINAL = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)
for number in range(3):
    os.dup2(terminal, number)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Worker:
    """A running ``owsuper`` and its database."""

    def __init__(
        self, program: Program, conn: psycopg.Connection, schema: str, directory: Path
    ) -> None:
        self.program = program
        self.log = program.stderr
        self.schema = schema
        self._conn = conn
        self._queries = ClientQueries(schema, "default")
        self._directory = directory

    def start(
        self,
        workflow: str,
        *,
        due_in: float | None = None,
        deadline_at: datetime | None = None,
        version: str | None = None,
        **input: Any,
    ) -> str:
        due = None if due_in is None else datetime.now(UTC) + timedelta(seconds=due_in)
        new = NewRun(
            workflow_name=workflow,
            version=version,
            input_json=json.dumps(input).encode(),
            available_at=due,
            deadline_at=deadline_at,
        )
        return self._queries.start(new).run(self._conn)

    def cancel(self, run_id: str) -> None:
        self._queries.cancel(run_id).run(self._conn)

    def get(self, run_id: str) -> RunRow:
        return self._queries.get_run(run_id).run(self._conn)

    def await_outcome(self, run_id: str, outcome: str = "completed", timeout: float = 30.0) -> str:
        """Wait for the log line of this outcome and return it."""
        found = self.log.wait_for(rf"^.*run_id={run_id} .*outcome={outcome}.*$", timeout=timeout)
        return found[0]

    def announced(self) -> dict[str, Any] | None:
        """Return what the supervisor has last said of itself; None before it has."""
        row = self._conn.execute(
            f'SELECT status FROM "{self.schema}".owsuper_supervisors WHERE pid = $1',
            [self.program.pid],
        ).fetchone()
        return None if row is None else row[0]

    def crashes(self) -> list[dict[str, Any]]:
        rows = self._conn.execute(
            f'SELECT workflow_run_id, alone, evidence FROM "{self.schema}".owsuper_crashes'
            " ORDER BY at"
        ).fetchall()
        return [{"run": run, "alone": alone, **evidence} for run, alone, evidence in rows]

    def post_mortems(self) -> list[dict[str, Any]]:
        """Return the rows with their evidence, the first death first."""
        with self._conn.cursor(row_factory=dict_row) as cursor:
            table = f'"{self.schema}".owsuper_post_mortems'
            cursor.execute(f"SELECT * FROM {table} ORDER BY died_at".encode())
            return [{**row.pop("evidence"), **row} for row in cursor.fetchall()]

    def effects(self) -> list[str]:
        path = self._directory / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def children(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"child ready child=\d+ pid=(\d+)", self.log.text)]

    def kill_child(self, index: int = 0) -> None:
        os.kill(self.children()[index], signal.SIGKILL)

    def await_effect(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + 60
        while self.effects().count(text) < count:
            assert time.monotonic() < deadline, (self.effects(), self.log.text)
            time.sleep(0.005)  # a file can only be polled

    def await_completed(self, run_id: str) -> None:
        """Wait until the run is completed, in whichever worker."""
        deadline = time.monotonic() + 60
        while (status := self.get(run_id).status) != "completed":
            assert time.monotonic() < deadline, (status, self.log.text)
            time.sleep(0.005)  # the log may be of another worker, or without these lines

    def await_descendants(self, count: int) -> None:
        """Wait until so many processes are left below the supervisor."""
        deadline = time.monotonic() + 60
        while len(self.program.descendants()) != count:
            assert time.monotonic() < deadline, (self.program.descendants(), self.log.text)
            time.sleep(0.01)  # processes can only be polled

    def await_no_descendants(self) -> None:
        deadline = time.monotonic() + 60
        while self.program.descendants():
            assert time.monotonic() < deadline, self.program.descendants()
            time.sleep(0.01)  # orphans can only be polled

    def await_title(self, pattern: str) -> None:
        """Wait until the title of the supervisor has a match of ``pattern``."""
        path = Path(f"/proc/{self.program.pid}/cmdline")
        deadline = time.monotonic() + 60
        while not re.search(pattern, title := path.read_text().rstrip("\0 ")):
            assert time.monotonic() < deadline, title
            time.sleep(0.02)  # a title can only be polled

    def stop(self) -> int:
        self.program.terminate()
        return self.program.wait()


Begin = Callable[..., Worker]
