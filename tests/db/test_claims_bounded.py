"""Looks that begin where the last one left off forget nothing, whoever writes what and when."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.claims import ClaimQueries, parse_claim
from owsuper.db.sweeps import SweepQueries, parse_swept
from owsuper.supervisor.watermark import Watermark
from tests.db.rows import OTHER, Tables, from_now, perform

W = [("w", None)]
PATIENCE = 60.0  # seconds until we believe that a run was forgotten


class Looker:
    """Claims as a supervisor does; ``expensive`` makes it believe that looks back take long."""

    def __init__(self, conn: psycopg.Connection, schema: str, expensive: float = 0.0) -> None:
        self.conn = conn
        self.queries = ClaimQueries(schema, "default")
        self.sweeps = SweepQueries(schema, "default")
        self.due, self.lapsed = Watermark(2), Watermark(1)
        self.expensive = expensive
        self.claimed: Counter[str] = Counter()

    def look(self, limit: int = 5) -> list[str]:
        look = self.due.next_range(time.monotonic())
        call = self.queries.claim(limit, W, worker_prefix="h:", lease_seconds=300, scan_range=look)
        claimed = parse_claim(perform(self.conn, call))
        seen = claimed.scan
        if look.margin != 0.25:
            seen = type(seen)(seen.since, self.expensive)
        self.due.on_scanned(time.monotonic(), seen)
        runs = [run.run_id for run in claimed.runs]
        self.claimed.update(runs)
        return runs

    def release_lapsed(self) -> None:
        look = self.lapsed.next_range(time.monotonic())
        swept = parse_swept(perform(self.conn, self.sweeps.release_lapsed(W, look)))
        self.lapsed.on_scanned(time.monotonic(), swept.scan)

    def until(self, runs: set[str]) -> None:
        """Look until these are claimed."""
        end = time.monotonic() + PATIENCE
        while not runs <= self.claimed.keys():
            assert time.monotonic() < end, f"forgotten: {runs - self.claimed.keys()}"
            self.look()
            self.release_lapsed()

    def settle(self) -> None:
        while not self.due.complete or not self.lapsed.complete:
            self.look()
            self.release_lapsed()


@pytest.fixture
def looker(database_url: str, schema: str, conn: psycopg.Connection) -> Looker:
    looker = Looker(conn, schema, expensive=0.02)  # a full look every second
    looker.settle()
    return looker


def test_a_short_look_does_not_see_what_is_due_long_before_it(
    looker: Looker, tables: Tables
) -> None:
    """Or else the tests below would prove nothing."""
    looker.expensive = 1000.0
    looker.due = Watermark(2)
    looker.settle()
    tables.pending(available_at=from_now(-3600))
    assert looker.look() == []


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1, 3, 30, 3600, 10**9])
def test_a_run_that_is_due_in_the_past_is_found(
    looker: Looker, tables: Tables, seconds: float
) -> None:
    for make in (tables.pending, tables.parked):
        looker.until({make(available_at=from_now(-seconds))})


def test_a_run_of_a_transaction_that_commits_late_is_found(
    looker: Looker, tables: Tables, database_url: str
) -> None:
    with connect.connect(database_url, application_name="owsuper test") as late:
        late.execute("BEGIN")
        runs = {Tables(late, tables.schema).pending(available_at=from_now(-1)) for _ in range(3)}
        for _ in range(10):
            looker.until({tables.pending()})
        late.execute("COMMIT")
        looker.until(runs)


def test_a_lease_that_an_operator_ended_is_found(looker: Looker, tables: Tables) -> None:
    run = tables.run(worker_id=OTHER)
    tables.update("workflow_runs", run, available_at=from_now(-86_400))
    looker.until({run})


def test_a_locked_run_is_found_when_it_is_free_again(
    looker: Looker, tables: Tables, database_url: str
) -> None:
    run = tables.pending(available_at=from_now(0))
    with connect.connect(database_url, application_name="owsuper test") as other:
        other.execute("BEGIN")
        query = f"SELECT FROM \"{tables.schema}\".workflow_runs WHERE id = '{run}' FOR UPDATE"
        other.execute(query.encode())
        for _ in range(10):
            looker.until({tables.pending()})
        assert run not in looker.claimed
        other.execute("ROLLBACK")
        looker.until({run})


@pytest.mark.slow
def test_whatever_writers_do_every_due_run_is_claimed_once(
    database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    seed = random.randrange(2**32)
    expected: set[str] = set()
    done = threading.Event()

    def write(number: int) -> None:
        rng = random.Random(seed + number)
        with connect.connect(database_url, application_name="owsuper test") as mine:
            tables = Tables(mine, schema)
            for _ in range(25):
                mine.execute("BEGIN")
                moment = rng.choice([0, 0, -rng.random(), -rng.expovariate(0.01), rng.random()])
                make = rng.choice([tables.pending, tables.parked])
                run = make(available_at=from_now(moment))
                never = make(available_at=None)
                if rng.random() < 0.3:  # owned by somebody who is gone
                    tables.update("workflow_runs", run, status="running", worker_id=OTHER)
                if rng.random() < 0.3:
                    done.wait(rng.random() / 2)
                mine.execute(rng.choice([b"COMMIT", b"COMMIT", b"ROLLBACK"]))
                if tables.rows("workflow_runs", f"id = '{never}'"):
                    expected.add(run)

    def look(looker: Looker) -> None:
        while not done.is_set():
            looker.look(3)
            looker.release_lapsed()

    with connect.connect(database_url, application_name="owsuper test") as other:
        lookers = [Looker(conn, schema, 0.02), Looker(other, schema, 0.005)]
        writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        readers = [threading.Thread(target=look, args=(looker,)) for looker in lookers]
        for thread in (*writers, *readers):
            thread.start()
        for thread in writers:
            thread.join()
        end = time.monotonic() + PATIENCE
        while len(set().union(*(list(looker.claimed) for looker in lookers))) < len(expected):
            if time.monotonic() > end:
                break
            done.wait(0.01)
        done.set()
        for thread in readers:
            thread.join()
    claimed = sum((looker.claimed for looker in lookers), Counter())
    assert claimed == Counter(expected), f"seed {seed}"
