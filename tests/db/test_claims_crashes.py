"""A process died: who is charged, who is convicted, who is acquitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.claims import ClaimQueries, parse_claim
from owsuper.db.crashes import CrashedRun, CrashOutcome, CrashQueries, parse_crash
from tests.db.rows import ME, OTHER, Tables, from_now, perform

KILLED = {"cause": "signal SIGKILL", "step": "resize", "max_rss_kb": 2_000_000}


class Court:
    """Lets processes die and says what became of what they held."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self.conn = conn
        self.queries = CrashQueries(schema, "default")
        self.tables = Tables(conn, schema)

    def die(
        self, *runs: str, max_crashes: int = 3, evidence: Any = None
    ) -> dict[str, tuple[int, bool]]:
        """A process claims these runs and dies; by run: crashes so far, and whether it failed."""
        casualties = []
        for run in runs:
            worker = f"host:1:{uuid4()}"
            self.tables.update("workflow_runs", run, worker_id=worker)
            casualties.append(CrashedRun(run, worker, evidence or KILLED))
        verdicts = self.record(casualties, max_crashes)
        assert {each.worker_id for each in verdicts} == {each.worker_id for each in casualties}
        return {each.run_id: (each.crashes, each.failed) for each in verdicts}

    def record(self, casualties: list[CrashedRun], max_crashes: int = 3) -> list[CrashOutcome]:
        call = self.queries.record_crash(str(uuid4()), casualties, max_crashes=max_crashes)
        return parse_crash(perform(self.conn, call))

    def charged(self) -> dict[str, int]:
        """Crashes on record, by run."""
        counts: dict[str, int] = {}
        for row in self.tables.rows("owsuper_crashes"):
            counts[row["workflow_run_id"]] = counts.get(row["workflow_run_id"], 0) + 1
        return counts


@pytest.fixture
def court(database_url: str, schema: str) -> Iterator[Court]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield Court(conn, schema)


def test_what_a_dead_process_held_is_due_at_once_and_says_why(court: Court) -> None:
    run = court.tables.run()
    started_at = court.tables.fetch(run)["started_at"]
    assert court.die(run) == {run: (1, False)}
    row = court.tables.fetch(run)
    assert (row["status"], row["worker_id"], row["started_at"]) == ("running", None, started_at)
    assert row["available_at"] == row["updated_at"] < from_now(1)
    assert row["error"] == {
        "name": "ProcessCrashed",
        "message": "The process running this run died (signal SIGKILL in step 'resize');"
        " it will run again",
    }
    [crash] = court.tables.rows("owsuper_crashes")
    assert (crash["workflow_run_id"], crash["alone"], crash["evidence"]) == (run, True, KILLED)


def test_a_run_that_kills_its_process_three_times_fails_with_the_evidence(court: Court) -> None:
    run = court.tables.run()
    assert court.die(run) == {run: (1, False)}
    assert court.die(run, evidence={"cause": "exit code 7"}) == {run: (2, False)}
    assert court.die(run) == {run: (3, True)}
    row = court.tables.fetch(run)
    assert (row["status"], row["worker_id"], row["available_at"]) == ("failed", None, None)
    assert row["started_at"] is None
    assert row["finished_at"] == row["updated_at"]
    crashes = row["error"].pop("crashes")
    assert row["error"] == {
        "name": "ProcessCrashed",
        "message": "The process running this run died 3 times (signal SIGKILL in step 'resize';"
        " exit code 7; signal SIGKILL in step 'resize')",
    }
    assert [(each["cause"], each["alone"]) for each in crashes] == [
        ("signal SIGKILL", True),
        ("exit code 7", True),
        ("signal SIGKILL", True),
    ]
    assert [each["at"] for each in crashes] == sorted(each["at"] for each in crashes)
    assert court.charged() == {}


def test_one_crash_may_be_enough(court: Court) -> None:
    run = court.tables.run()
    assert court.die(run, max_crashes=1) == {run: (1, True)}
    message = court.tables.fetch(run)["error"]["message"]
    assert message == "The process running this run died (signal SIGKILL in step 'resize')"


def test_nobody_is_convicted_who_was_never_alone(court: Court) -> None:
    runs = [court.tables.run() for _ in range(2)]
    for count in range(1, 6):
        assert court.die(*runs) == dict.fromkeys(runs, (count, False))


def test_who_was_alone_once_is_convicted_by_the_crashes_it_shared(court: Court) -> None:
    culprit, bystander = court.tables.run(), court.tables.run()
    court.die(culprit, bystander)
    court.die(culprit, bystander)
    assert court.charged() == {culprit: 2, bystander: 2}
    assert court.die(culprit) == {culprit: (3, True)}
    assert court.charged() == {}
    assert court.tables.fetch(bystander)["status"] == "running"


def test_a_conviction_in_company_acquits_the_company(court: Court) -> None:
    culprit, earlier, now = (court.tables.run() for _ in range(3))
    court.die(culprit)
    court.die(culprit, earlier)
    unrelated = court.tables.run()
    court.die(unrelated)
    assert court.die(culprit, now) == {culprit: (3, True), now: (1, False)}
    assert court.charged() == {unrelated: 1}
    assert court.tables.fetch(now)["worker_id"] is None


def test_to_die_alone_acquits_those_who_were_there_before(court: Court) -> None:
    culprit, bystander = court.tables.run(), court.tables.run()
    court.die(culprit, bystander)
    elsewhere = court.tables.run()
    court.die(bystander, elsewhere)
    assert court.die(culprit) == {culprit: (2, False)}
    assert court.charged() == {culprit: 2, bystander: 1, elsewhere: 1}


def test_a_suspect_is_pointed_out_when_it_is_claimed_again(court: Court) -> None:
    charged, innocent = court.tables.run(), court.tables.parked(available_at=from_now(-1))
    court.die(charged)
    call = ClaimQueries(court.tables.schema, "default").claim(
        9, [("w", None)], worker_prefix="", lease_seconds=30
    )
    claimed = parse_claim(perform(court.conn, call)).runs
    assert {run.run_id: run.suspect for run in claimed} == {charged: True, innocent: False}


def test_a_crash_is_charged_once_however_often_it_is_recorded(court: Court) -> None:
    run = court.tables.run()
    casualties = [CrashedRun(run, ME, KILLED)]
    call = court.queries.record_crash("crash", casualties, max_crashes=3)
    assert parse_crash(perform(court.conn, call)) == [CrashOutcome(ME, run, 1, False)]
    assert parse_crash(perform(court.conn, call)) == []
    assert court.charged() == {run: 1}


def test_runs_that_have_gone_on_are_not_touched(court: Court) -> None:
    taken = court.tables.run(worker_id=OTHER)
    ended = court.tables.run(status="completed")
    mine = court.tables.run()
    before = [court.tables.fetch(run) for run in (taken, ended)]
    casualties = [CrashedRun(run, ME, KILLED) for run in (taken, ended, mine)]
    assert court.record(casualties) == [CrashOutcome(ME, mine, 1, False)]
    assert [court.tables.fetch(run) for run in (taken, ended)] == before
    # The others were there when it died, even if they had been taken away meanwhile.
    [crash] = court.tables.rows("owsuper_crashes")
    assert (crash["workflow_run_id"], crash["alone"]) == (mine, False)


def test_a_convicted_child_wakes_its_parent(court: Court) -> None:
    parent = court.tables.parked()
    child = court.tables.child(parent)
    court.die(child)
    assert court.tables.fetch(parent)["available_at"] > from_now(3000)
    assert court.die(child, max_crashes=2) == {child: (2, True)}
    assert court.tables.fetch(parent)["available_at"] < from_now(1)


def test_evidence_may_hold_anything(court: Court) -> None:
    run = court.tables.run()
    evidence = {"cause": "signal SIGSEGV 100%s %", "step": "it's %1$s", "more": [{"a": None}]}
    court.die(run, evidence=evidence)
    court.die(run, evidence=evidence, max_crashes=2)
    error = court.tables.fetch(run)["error"]
    assert "signal SIGSEGV 100%s % in step 'it's %1$s'" in error["message"]
    assert error["crashes"][0]["more"] == [{"a": None}]
