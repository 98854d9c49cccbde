"""A worker beside enough others that are on call, so that it does not listen for new runs.

The others are rows and locks of a session of the test: they take no runs. No worker polls.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.listen import runs_channel, workers_channel
from owsuper.db.presence import PresenceQueries
from owsuper.db.workers import SupervisorRow, WorkerQueries
from owsuper.supervisor.on_call import ENOUGH
from owsuper.supervisor.peers import place
from tests.db.announcements import announced
from tests.db.rows import perform
from tests.supervisor.worker import FLOWS, Begin, Worker

pytestmark = [pytest.mark.slow, pytest.mark.once]

LEAVES = "leaves new runs to those on call"
LISTENS = "listens for new runs"
UNLISTENED = "SELECT pid FROM pg_stat_activity WHERE query = $1 AND state = 'idle'"


class Beside:
    """A worker, and the others."""

    def __init__(self, worker: Worker, others: psycopg.Connection) -> None:
        self.worker = worker
        self.others = others
        self.channel = runs_channel(worker.schema, "default")
        self._queries = WorkerQueries(worker.schema, "default")
        row = self.wait_until(lambda row: row.status is not None and row.status["free"] == 2)
        names = (f"others:1:{number}" for number in count())
        before = (name for name in names if place("on call", name) < place("on call", row.id))
        for _, name in zip(range(ENOUGH), before, strict=False):
            queries = PresenceQueries(worker.schema, "default", name)
            perform(others, queries.register(30, "others", 1))
            status = {"listening": True, "on_call": True, "free": 2, "slots": 2}
            perform(others, announced(queries, workflows=row.workflows, **status))
        # However long the test takes, they have said so lately.
        table = f'"{worker.schema}".owsuper_supervisors'
        lately = f"UPDATE {table} SET announced_at = now() + interval '1h' WHERE host = 'others'"
        others.execute(lately.encode())

    def wait_until(self, is_so: Callable[[SupervisorRow], bool]) -> SupervisorRow:
        """Wait until the worker has announced what is so."""
        deadline = time.monotonic() + 60
        while True:
            rows = self._queries.all().run(self.others)
            for row in rows:
                if row.pid == self.worker.program.pid and is_so(row):
                    return row
            assert time.monotonic() < deadline, rows
            time.sleep(0.02)  # a table can only be polled

    def wait_until_off_call(self) -> None:
        """Wait until the worker has left new runs to the others, and the server knows."""
        self.worker.log.wait_for(LEAVES, timeout=60)
        deadline = time.monotonic() + 60
        while not self.others.execute(UNLISTENED, [f'UNLISTEN "{self.channel}"']).fetchall():
            assert time.monotonic() < deadline, self.worker.log.text
            time.sleep(0.02)  # a view can only be polled

    def wait_until_all_is_heard(self) -> None:
        """Wait until the worker has heard, and answered, what was sent before this call."""
        token = uuid4().hex
        self._queries.ask_for_stacks(token).run(self.others)
        self.wait_until(lambda row: row.stacks(token) is not None)

    def start_unheard(self) -> str:
        """Start a run that the worker does not hear of."""
        run = self.worker.start("record", text="done")
        self.wait_until_all_is_heard()
        assert self.worker.get(run).status == "pending"
        return run


@pytest.fixture
def beside(begin: Begin, database_url: str) -> Iterator[Beside]:
    """A worker that has left new runs to the others. Its leases are long."""
    worker = begin("--poll-interval=1h", "--lease=1h", OWSUPER_PROCESSES="2")
    with ExitStack() as stack:
        others = stack.enter_context(connect.connect(database_url, application_name="owsuper test"))
        beside = Beside(worker, others)
        beside.wait_until_off_call()
        yield beside


def test_a_worker_off_call_hears_what_is_passed_on_cancellations_and_questions_for_stacks(
    beside: Beside,
) -> None:
    run = beside.start_unheard()
    channel = workers_channel(beside.worker.schema, "default")
    beside.others.execute(b"SELECT pg_notify($1, 'more:1')", [channel])
    beside.worker.await_outcome(run)

    [endless] = [beside.worker.start("wait_for_ever")]
    beside.others.execute(b"SELECT pg_notify($1, 'more:2')", [channel])
    beside.worker.await_effect("waiting")
    beside.worker.cancel(endless)
    beside.worker.await_effect("cancelled")


def test_when_those_on_call_disappear_it_listens_and_takes_the_runs_that_wait(
    beside: Beside,
) -> None:
    run = beside.start_unheard()
    beside.others.close()
    beside.worker.await_outcome(run)
    assert LISTENS in beside.worker.log.text
    beside.worker.await_outcome(beside.worker.start("record", text="done"))


def test_when_its_connection_was_lost_it_listens_for_new_runs_again(
    beside: Beside, conn: psycopg.Connection
) -> None:
    run = beside.start_unheard()
    terminated = conn.execute(
        f"SELECT pg_terminate_backend(pid) FROM ({UNLISTENED}) AS listener",
        [f'UNLISTEN "{beside.channel}"'],
    )
    assert terminated.fetchall() == [(True,)]  # its last statement was to listen no more
    beside.worker.await_outcome(run)
    beside.worker.await_outcome(beside.worker.start("record", text="done"))


def test_a_reload_to_workflows_that_the_others_do_not_serve_makes_it_listen(
    beside: Beside, tmp_path: Path
) -> None:
    beside.start_unheard()
    code = FLOWS + '\n@ow.workflow("brand-new")\ndef brand_new(step): ...\n'
    (tmp_path / "flows.py").write_text(code)
    beside.worker.program.signal(signal.SIGHUP)
    beside.worker.log.wait_for(LISTENS, timeout=60)
    beside.worker.log.wait_for(": reloaded: ", timeout=60)
    beside.worker.await_outcome(beside.worker.start("brand-new"))
