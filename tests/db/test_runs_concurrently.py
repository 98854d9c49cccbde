"""Everything that writes on runs, at the same time: nobody deadlocks, and nothing is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from owsuper.core.model import Complete, Fail, Outcome, Park, Release, Retry, WriteSet
from owsuper.db import connect
from owsuper.db.claims import Call, ClaimQueries, parse_claim
from owsuper.db.clients import ClientQueries
from owsuper.db.crashes import CrashedRun, CrashQueries
from owsuper.db.runs import RunStore
from owsuper.db.sweeps import SweepQueries
from owsuper.errors import RunNotCancelable
from owsuper.stored_error import StoredError
from tests.db.rows import ME, Tables, from_now, perform, perform_in_the_end, step_write

LATER = datetime(2032, 1, 1, tzinfo=UTC)
BAD = StoredError("bad")


def together(*work: Callable[[], None]) -> None:
    """Do it all at once, each in a thread; the first error is raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(work))

    def run(one: Callable[[], None]) -> None:
        try:
            barrier.wait()
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class Chaos:
    """One process among several that write on the same runs, in any order they like."""

    def __init__(
        self,
        conn: psycopg.Connection,
        schema: str,
        leases: dict[str, str],
        waits: dict[str, tuple[str, ...]],
        seed: int,
    ) -> None:
        self.conn = conn
        self.store = RunStore(schema, "default")
        self.claims = ClaimQueries(schema, "default")
        self.crashes = CrashQueries(schema, "default")
        self.sweeps = SweepQueries(schema, "default")
        self.clients = ClientQueries(schema, "default")
        self.leases = leases  # shared, and out of date at times: that is what fences are for
        self.waits = waits  # of each run, the steps that wait for children
        self.random = random.Random(seed)
        self.committed = 0

    def work(self, count: int) -> None:
        actions = [self.commit] * 6 + [self.claim] * 3 + [self.extend] * 3
        actions += [self.release, self.crash, self.cancel, self.expire]
        for _ in range(count):
            self.random.choice(actions)()

    def some(self) -> list[tuple[str, str]]:
        known = list(self.leases.items())
        return self.random.sample(known, min(len(known), self.random.randint(1, 12)))

    def commit(self) -> None:
        writes = [
            WriteSet(run, worker, (step_write(),), self.random.choice(self.outcomes(run)))
            for run, worker in self.some()
        ]
        with suppress(psycopg.errors.LockNotAvailable):  # after a second; children repeat it
            self.committed += len(self.store.commit(self.conn, writes))

    def outcomes(self, run: str) -> list[Outcome | None]:
        waits = self.waits.get(run, ())
        return [
            *[None, Park(LATER, waits), Park(LATER, waits), Park(from_now(0), waits)],
            *[Retry(from_now(0), BAD, counts=True), Release()],
            *[Complete(b"1"), Fail({"message": "bad"})],
        ]

    def claim(self) -> None:
        call = self.claims.claim(8, [("w", None)], worker_prefix="host:1:", lease_seconds=30)
        for run in parse_claim(perform(self.conn, call)).runs:
            self.leases[run.run_id] = run.worker_id

    def extend(self) -> None:
        self.store.extend(self.conn, self.some(), 30)

    def release(self) -> None:
        self.perform_soon(self.claims.release(self.some()[:3]))

    def crash(self) -> None:
        casualties = [CrashedRun(run, worker, {"cause": "x"}) for run, worker in self.some()[:3]]
        self.perform_soon(self.crashes.record_crash(str(uuid4()), casualties, max_crashes=2))

    def perform_soon(self, call: Call) -> None:
        """Perform what gives up after 100 ms without a lock, to be repeated later."""
        try:
            perform(self.conn, call)
        except psycopg.DatabaseError as error:
            if "lock timeout" not in str(error):
                raise

    def cancel(self) -> None:
        [(run, _), *_] = self.some()
        with suppress(RunNotCancelable):
            self.clients.cancel(run).run(self.conn)

    def expire(self) -> None:
        perform(self.conn, self.sweeps.expire_deadlines())


@pytest.mark.slow
def test_nobody_deadlocks_and_no_parent_sleeps_on(database_url: str, tables: Tables) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when this fails
    chance = random.Random(seed)
    leases = {}
    for _ in range(60):
        parent = tables.run()
        for run in [parent, *(tables.child(parent) for _ in range(3))]:
            worker = f"host:1:{uuid4()}"
            late = from_now(chance.uniform(0, 6)) if chance.random() < 0.1 else None
            tables.update("workflow_runs", run, worker_id=worker, deadline_at=late)
            leases[run] = worker

    waits: dict[str, tuple[str, ...]] = {}
    for step in tables.rows("step_attempts", "kind = 'workflow'"):
        run = step["workflow_run_id"]
        waits[run] = (*waits.get(run, ()), step["id"])
    workers = []
    for n in range(6):
        conn = connect.connect(database_url, application_name=f"owsuper test {n}")
        workers.append(Chaos(conn, tables.schema, leases, waits, seed + n))
    try:
        together(*[lambda worker=worker: worker.work(120) for worker in workers])
    finally:
        for worker in workers:
            worker.conn.close()

    assert tables.count("step_attempts") == 180 + sum(worker.committed for worker in workers)
    runs = {row["id"]: row for row in tables.rows("workflow_runs")}
    ended = {run for run, row in runs.items() if row["finished_at"] is not None}
    assert 0 < len(ended) < len(runs), "the test must end in the middle of things"
    for run, row in runs.items():
        assert (row["available_at"] is None) == (run in ended)
        assert (row["status"] in ("completed", "failed", "canceled")) == (run in ended)
    for step in tables.rows("step_attempts", "kind = 'workflow'"):
        parent_row = runs[step["workflow_run_id"]]
        parked = parent_row["status"] == "running" and parent_row["worker_id"] is None
        if parked and step["child_workflow_run_id"] in ended:
            assert parent_row["available_at"] < from_now(1), parent_row["id"]
    perform(tables.conn, SweepQueries(tables.schema, "default").forget_ended())
    kept = {row["workflow_run_id"] for row in tables.rows("owsuper_failures")}
    kept |= {row["workflow_run_id"] for row in tables.rows("owsuper_crashes")}
    assert not kept & ended


@pytest.mark.parametrize("how", ["complete", "fail", "cancel", "expire", "convict"])
def test_a_parent_that_parks_while_its_child_ends_is_woken(
    database_url: str, tables: Tables, how: str
) -> None:
    schema = tables.schema
    store, crashes = RunStore(schema, "default"), CrashQueries(schema, "default")
    clients = ClientQueries(schema, "default")
    with (
        closing(connect.connect(database_url, application_name="owsuper test")) as one,
        closing(connect.connect(database_url, application_name="owsuper test")) as two,
    ):
        for _ in range(40):
            parent = tables.run()
            step = tables.step(parent, kind="workflow")
            child = tables.child_of_step(
                step, linked=False, deadline_at=from_now(0) if how == "expire" else None
            )

            def park(parent: str = parent, step: str = step, child: str = child) -> None:
                with one.transaction():
                    fence = f'SELECT FROM "{schema}".workflow_runs WHERE id = $1 FOR NO KEY UPDATE'
                    one.execute(fence.encode(), [parent])
                    link = (
                        f'UPDATE "{schema}".step_attempts SET child_workflow_run_id = $2,'
                        " child_workflow_run_namespace_id = 'default' WHERE id = $1"
                    )
                    one.execute(link.encode(), [step, child])
                assert store.commit(one, [WriteSet(parent, ME, (), Park(LATER, (step,)))]) == {ME}

            def end(child: str = child) -> None:
                match how:
                    case "complete":
                        store.commit(two, [WriteSet(child, ME, (), Complete(None))])
                    case "fail":
                        store.commit(two, [WriteSet(child, ME, (), Fail({"message": "x"}))])
                    case "cancel":
                        clients.cancel(child).run(two)
                    case "expire":
                        while tables.fetch(child)["status"] == "running":
                            perform(two, SweepQueries(schema, "default").expire_deadlines())
                    case "convict":
                        casualty = CrashedRun(child, ME, {"cause": "x"})
                        call = crashes.record_crash("c", [casualty], max_crashes=1)
                        perform_in_the_end(two, call)

            together(park, end)
            assert tables.fetch(child)["status"] in ("completed", "failed", "canceled")
            assert tables.fetch(parent)["available_at"] < from_now(1)


@pytest.mark.parametrize("how", ["complete", "cancel"])
def test_a_parent_elsewhere_that_parks_while_its_child_ends_is_woken(
    database_url: str, tables: Tables, how: str
) -> None:
    """It parks, then looks for children that have ended: in two statements, without their locks."""
    runs = f'"{tables.schema}".workflow_runs'
    store = RunStore(tables.schema, "default")
    parent = tables.run(worker_id=str(uuid4()))
    child = tables.child(parent)
    parked = threading.Event()

    def park_as_there(conn: psycopg.Connection) -> None:
        park = f"UPDATE {runs} SET worker_id = NULL, available_at = $2 WHERE id = $1"
        conn.execute(park.encode(), [parent, LATER])
        look = (
            f"UPDATE {runs} SET available_at = now() WHERE id = $1 AND EXISTS"
            f" (SELECT FROM {runs} WHERE id = $2 AND status IN ('completed', 'canceled'))"
        )
        conn.execute(look.encode(), [parent, child])
        parked.set()

    with (
        closing(connect.connect(database_url, application_name="owsuper test")) as one,
        closing(connect.connect(database_url, application_name="owsuper test")) as two,
    ):
        peer = threading.Thread(target=park_as_there, args=(one,))
        with two.transaction():
            if how == "complete":
                store.commit(two, [WriteSet(child, ME, (), Complete(None))])
            else:
                ClientQueries(tables.schema, "default").cancel(child).run(two)
            peer.start()
            parked.wait(0.5)  # it does not park before the end is committed
        peer.join()
    assert tables.fetch(parent)["available_at"] < from_now(1)


def test_a_run_that_is_canceled_while_it_ends_waits_without_the_lock_of_its_parent(
    database_url: str, tables: Tables
) -> None:
    store = RunStore(tables.schema, "default")
    parent = tables.parked()
    child, sibling = tables.child(parent), tables.child(parent)
    with (
        closing(connect.connect(database_url, application_name="owsuper test")) as one,
        closing(connect.connect(database_url, application_name="owsuper test")) as two,
    ):

        def cancel() -> None:
            with suppress(RunNotCancelable):
                ClientQueries(tables.schema, "default").cancel(child).run(one)

        canceler = threading.Thread(target=cancel)
        lock = f'SELECT FROM "{tables.schema}".workflow_runs WHERE id = $1 FOR NO KEY UPDATE'
        with two.transaction():
            two.execute(lock.encode(), [child])
            canceler.start()
            waiting = "SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'"
            while not tables.conn.execute(waiting.encode(), [one.info.backend_pid]).fetchall():
                threading.Event().wait(0.01)
            assert store.commit(two, [WriteSet(child, ME, (), Complete(None))]) == {ME}
        canceler.join()
    assert tables.fetch(child)["status"] == "completed"
    assert tables.fetch(sibling)["status"] == "running"


def test_what_was_written_is_what_was_said_to_be_written(database_url: str, tables: Tables) -> None:
    """Claims are taken away in the middle of commits."""
    runs = [tables.run() for _ in range(10)]
    held: list[str] = []
    store = RunStore(tables.schema, "default")

    def write() -> None:
        with closing(connect.connect(database_url, application_name="owsuper test")) as conn:
            left = set(runs)
            while left:
                writes = {}
                for run in left:
                    step = step_write()
                    writes[step.attempt_id] = WriteSet(run, f"{ME} {run}", (step,))
                good = store.commit(conn, list(writes.values()))
                held.extend(s for s, write in writes.items() if write.worker_id in good)
                left = {write.run_id for write in writes.values() if write.worker_id in good}

    def steal() -> None:
        chance = random.Random(0)
        for run in runs:
            threading.Event().wait(chance.uniform(0, 0.02))
            tables.update("workflow_runs", run, worker_id="thief")

    for run in runs:
        tables.update("workflow_runs", run, worker_id=f"{ME} {run}")
    together(write, steal)
    assert {row["id"] for row in tables.rows("step_attempts")} == set(held)


def test_a_failed_parent_is_retried_while_its_late_child_ends(
    database_url: str, tables: Tables
) -> None:
    """Either writes on both runs: the child loses its parent, the parent might be woken."""
    store = RunStore(tables.schema, "default")
    clients = ClientQueries(tables.schema, "default")
    with (
        closing(connect.connect(database_url, application_name="owsuper test")) as one,
        closing(connect.connect(database_url, application_name="owsuper test")) as two,
    ):
        for _ in range(40):
            parent = tables.run(status="failed", worker_id=None, available_at=None)
            child = tables.child(parent)
            [step] = tables.steps_of(parent)
            tables.update("step_attempts", step["id"], status="failed")

            def retry(parent: str = parent) -> None:
                clients.retry(parent).run(one)

            def end(child: str = child) -> None:
                assert store.commit(two, [WriteSet(child, ME, (), Complete(None))]) == {ME}

            together(retry, end)
            assert tables.fetch(parent)["status"] == "pending"
            assert tables.fetch(child)["status"] == "completed"
            assert tables.steps_of(parent) == []


def test_senders_of_both_implementations_never_deadlock(database_url: str, tables: Tables) -> None:
    """The other locks the steps before it updates their runs, in whatever order it finds them."""
    schema = tables.schema
    ours = ClientQueries(schema, "default").send_signal("go", b"1", None, keep=False)

    def send_as_there(conn: psycopg.Connection) -> None:
        with conn.transaction():
            waits = conn.execute(
                f'SELECT id, workflow_run_id FROM "{schema}".step_attempts WHERE namespace_id ='
                " 'default' AND kind = 'signal-wait' AND status = 'running'"
                " AND context ->> 'signal' = 'go' FOR UPDATE".encode()
            ).fetchall()
            for step, run in waits:
                conn.execute(
                    f'INSERT INTO "{schema}".workflow_signals (namespace_id, id, signal, data,'
                    " workflow_run_id, step_attempt_id) VALUES ('default', gen_random_uuid(), 'go',"
                    " '1', $1, $2) ON CONFLICT DO NOTHING".encode(),
                    [run, step],
                )
            conn.execute(
                f'UPDATE "{schema}".workflow_runs SET available_at = now(), updated_at = now()'
                " WHERE namespace_id = 'default' AND id = ANY ($1) AND worker_id IS NULL".encode(),
                [[run for _, run in waits]],
            )

    connections = [connect.connect(database_url, application_name="owsuper test") for _ in range(4)]
    try:
        for _ in range(15):
            runs = [tables.parked() for _ in range(8)]
            for run in runs:
                context = {"kind": "signal-wait", "signal": "go"}
                tables.step(run, kind="signal-wait", context=context)
            one, two, three, four = connections
            together(
                lambda one=one: send_as_there(one),
                lambda two=two: ours.run(two),
                lambda three=three: send_as_there(three),
                lambda four=four: ours.run(four),
            )
            for run in runs:
                assert tables.fetch(run)["available_at"] < from_now(1)
                [step] = tables.steps_of(run)
                tables.update("step_attempts", step["id"], status="completed")
    finally:
        for conn in connections:
            conn.close()
