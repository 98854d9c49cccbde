"""Which runs of a supervisor without a session are released, and when it counts as missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from owsuper.db import connect, presence
from owsuper.db.presence import STALE, PresenceQueries
from owsuper.db.workers import SupervisorRow, WorkerQueries
from tests.db.announcements import announced
from tests.db.rows import Tables, from_now, perform

GONE, HERE = "host:1:gone", "host:2:here"
THEIR_CLAIM, OUR_CLAIM = f"{GONE}:a", f"{HERE}:b"

Session = Callable[[], psycopg.Connection]


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    """Opens sessions, as supervisors do."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            connect.connect(database_url, application_name="owsuper test")
        )


@pytest.fixture
def queries(schema: str) -> PresenceQueries:
    return PresenceQueries(schema, "default", HERE)


def just_claimed(tables: Tables) -> str:
    return tables.run(worker_id=THEIR_CLAIM, updated_at=from_now(-1), created_at=from_now(-60))


def register(conn: psycopg.Connection, schema: str, supervisor_id: str) -> None:
    perform(conn, PresenceQueries(schema, "default", supervisor_id).register(30, "host", 1))


def end(ours: psycopg.Connection, theirs: psycopg.Connection) -> None:
    """End the session of another connection; returns when it has ended."""
    ours.execute(b"SELECT pg_terminate_backend($1, 30000)", [theirs.info.backend_pid])


def missing(conn: psycopg.Connection, queries: PresenceQueries) -> list[str]:
    found = presence.parse_others(perform(conn, queries.others()))
    return [each.supervisor_id for each in found if each.missing]


@pytest.fixture
def gone(session: Session, schema: str) -> None:
    """The supervisor GONE was there, and has lost its session."""
    theirs = session()
    register(theirs, schema, GONE)
    end(session(), theirs)


def test_a_supervisor_is_missing_when_its_last_session_has_ended(
    session: Session, schema: str, queries: PresenceQueries
) -> None:
    ours, before, after = session(), session(), session()
    register(before, schema, GONE)
    register(after, schema, GONE)  # it has reconnected before the server noticed the loss
    assert missing(ours, queries) == []
    for theirs in (before, after):
        assert perform(ours, queries.release_missing(GONE)) == []
        assert missing(ours, queries) == []
        end(ours, theirs)
    assert missing(ours, queries) == [GONE]


def test_a_supervisor_does_not_miss_itself(
    session: Session, schema: str, queries: PresenceQueries
) -> None:
    ours = session()
    assert missing(ours, queries) == []
    register(ours, schema, HERE)
    assert missing(ours, queries) == []
    assert missing(session(), queries) == []


@pytest.mark.usefixtures("gone")
def test_only_claims_that_no_child_has_begun_are_released(
    conn: psycopg.Connection, tables: Tables, queries: PresenceQueries
) -> None:
    untouched = just_claimed(tables)
    woken = just_claimed(tables)  # from a sleep, after a step
    tables.step(woken, kind="sleep", created_at=from_now(-30))
    tables.step(woken, status="completed", created_at=from_now(-40), finished_at=from_now(-30))
    executing = just_claimed(tables)
    tables.step(executing, created_at=from_now(0))
    between_steps = just_claimed(tables)
    tables.step(between_steps, status="completed", created_at=from_now(-9), finished_at=from_now(0))
    others = tables.run(worker_id=OUR_CLAIM, updated_at=from_now(-1))
    parked = tables.parked()

    released = {(run or b"").decode() for (run,) in perform(conn, queries.release_missing(GONE))}
    assert released == {untouched, woken}
    for run in released:
        assert tables.fetch(run)["worker_id"] is None
        assert tables.fetch(run)["status"] == "running"
        assert tables.fetch(run)["available_at"] <= from_now(1)
    for run in (executing, between_steps):
        assert tables.fetch(run)["worker_id"] == THEIR_CLAIM
    assert tables.fetch(others)["worker_id"] == OUR_CLAIM
    assert tables.fetch(parked)["available_at"] > from_now(60)


@pytest.mark.usefixtures("gone")
def test_a_supervisor_that_was_missing_is_forgotten_and_may_come_back(
    session: Session, schema: str, tables: Tables, queries: PresenceQueries
) -> None:
    ours, theirs = session(), session()
    perform(ours, queries.release_missing(GONE))
    assert tables.count("owsuper_supervisors") == 0
    run = just_claimed(tables)
    assert perform(ours, queries.release_missing(GONE)) == []
    register(theirs, schema, GONE)
    assert tables.count("owsuper_supervisors") == 1
    assert perform(ours, queries.release_missing(GONE)) == []
    assert tables.fetch(run)["worker_id"] == THEIR_CLAIM


def test_who_takes_the_place_of_a_supervisor_waits_for_the_end_of_its_session(
    session: Session, database_url: str, schema: str, queries: PresenceQueries
) -> None:
    ours, theirs = session(), session()
    register(theirs, schema, GONE)
    ours.execute(b"SELECT pg_terminate_backend($1)", [theirs.info.backend_pid])
    with presence.lock_supervisor(database_url, schema, GONE):
        assert missing(ours, queries) == []


def test_orphans_are_the_claims_of_a_supervisor_that_are_not_known(
    conn: psycopg.Connection, schema: str, tables: Tables
) -> None:
    known = tables.run(worker_id=f"{GONE}:known")
    orphan = tables.run(worker_id=f"{GONE}:orphan")
    others = tables.run(worker_id=f"{GONE}er:other")
    count = presence.release_orphans(
        conn, schema, "default", GONE, known=[f"{GONE}:known"], lease_seconds=60
    )
    assert count == 1
    assert tables.fetch(orphan)["worker_id"] is None
    assert tables.fetch(known)["worker_id"] is not None
    assert tables.fetch(others)["worker_id"] is not None


# --- announcements -----------------------------------------------------------------------------


def listed(conn: psycopg.Connection, schema: str) -> dict[str, SupervisorRow]:
    return {row.id: row for row in WorkerQueries(schema, "default").all().run(conn)}


def test_what_a_supervisor_announces_is_listed_and_replaced_by_its_next_announcement(
    session: Session, conn: psycopg.Connection, schema: str, queries: PresenceQueries
) -> None:
    ours = session()
    register(ours, schema, HERE)
    before = listed(conn, schema)[HERE]
    assert (before.connected, before.announced_at, before.status) == (True, None, None)
    perform(ours, announced(queries, workflows=[("w", "2")], state="starting"))
    perform(ours, announced(queries, workflows=[("w", "3")], state="serving"))
    row = listed(conn, schema)[HERE]
    assert (row.connected, row.workflows, row.pooled) == (True, [["w", "3"]], False)
    assert row.status["state"] == "serving"
    assert not row.silent
    assert row.version is not None


@pytest.mark.usefixtures("gone")
def test_an_announcement_finds_the_missing_as_a_look_does(
    session: Session, conn: psycopg.Connection, schema: str, queries: PresenceQueries
) -> None:
    ours = session()
    register(ours, schema, HERE)
    [found] = presence.parse_others(perform(ours, announced(queries)))
    assert (found.supervisor_id, found.missing) == (GONE, True)
    assert not listed(conn, schema)[GONE].connected


def test_a_supervisor_behind_a_pooler_is_never_missing_and_is_forgotten_when_it_is_silent(
    session: Session,
    conn: psycopg.Connection,
    schema: str,
    queries: PresenceQueries,
    tables: Tables,
) -> None:
    ours = session()
    pooled = PresenceQueries(schema, "default", GONE)
    assert perform(conn, announced(pooled, pooled=True)) == []
    assert missing(ours, queries) == []
    assert listed(conn, schema)[GONE].connected
    perform(ours, announced(queries))
    assert tables.count("owsuper_supervisors") == 2
    tables.update("owsuper_supervisors", GONE, announced_at=from_now(-STALE - 1))
    assert not listed(conn, schema)[GONE].connected
    perform(ours, announced(queries))
    assert listed(conn, schema).keys() == {HERE}


def test_a_supervisor_with_a_session_is_not_forgotten_when_it_is_silent(
    session: Session, tables: Tables, schema: str, queries: PresenceQueries
) -> None:
    ours, theirs = session(), session()
    register(theirs, schema, GONE)
    perform(theirs, announced(PresenceQueries(schema, "default", GONE)))
    tables.update("owsuper_supervisors", GONE, announced_at=from_now(-STALE - 1))
    perform(ours, announced(queries))
    assert tables.count("owsuper_supervisors") == 2


def test_a_supervisor_that_reconnects_through_a_pooler_is_not_missing(
    session: Session, schema: str, queries: PresenceQueries, gone: None
) -> None:
    ours = session()
    assert missing(ours, queries) == [GONE]
    perform(session(), announced(PresenceQueries(schema, "default", GONE), pooled=True))
    assert missing(ours, queries) == []


def test_who_takes_a_pooled_supervisor_for_missing_releases_nothing_of_it(
    session: Session, schema: str, tables: Tables, queries: PresenceQueries
) -> None:
    """As workers of earlier versions do, which do not know about poolers."""
    ours = session()
    perform(ours, announced(PresenceQueries(schema, "default", GONE), pooled=True))
    run = just_claimed(tables)
    assert perform(ours, queries.release_missing(GONE)) == []
    assert tables.fetch(run)["worker_id"] == THEIR_CLAIM


def test_a_supervisor_that_leaves_is_not_listed(
    session: Session, conn: psycopg.Connection, schema: str, queries: PresenceQueries
) -> None:
    ours = session()
    register(ours, schema, HERE)
    perform(ours, queries.leave())
    assert listed(conn, schema) == {}


def test_a_supervisor_with_a_session_that_announces_nothing_any_more_is_silent(
    session: Session,
    conn: psycopg.Connection,
    schema: str,
    queries: PresenceQueries,
    tables: Tables,
) -> None:
    ours = session()
    register(ours, schema, HERE)
    perform(ours, announced(queries))
    tables.update("owsuper_supervisors", HERE, announced_at=from_now(-STALE - 1))
    row = listed(conn, schema)[HERE]
    assert row.connected
    assert row.silent


# --- turns -------------------------------------------------------------------------------------

READY = {"state": "serving", "listening": True, "free": 2}


@pytest.mark.parametrize(
    ("status", "answers"),
    [
        (READY, True),
        (READY | {"free": 0}, False),
        (READY | {"listening": False}, False),
        (READY | {"state": "draining"}, False),
        ({"state": "serving", "free": 2}, False),  # an earlier version
    ],
)
def test_a_supervisor_that_listens_and_has_a_free_slot_answers_notifications(
    session: Session,
    schema: str,
    queries: PresenceQueries,
    status: dict[str, object],
    answers: bool,
) -> None:
    ours, theirs = session(), session()
    register(theirs, schema, GONE)
    other = PresenceQueries(schema, "default", GONE)
    perform(theirs, announced(other, workflows=[("w", None), ("x", "2")], **status))
    [found] = presence.parse_others(perform(ours, queries.others()))
    assert not found.missing
    assert found.answers == (frozenset({("w", None), ("x", "2")}) if answers else frozenset())


@pytest.mark.parametrize(
    ("age", "answers"), [(presence.STALE - 5, True), (presence.STALE + 1, False)]
)
def test_a_supervisor_that_has_said_nothing_for_long_answers_no_notifications(
    session: Session, schema: str, queries: PresenceQueries, age: float, answers: bool
) -> None:
    """It holds its lock, but hangs."""
    ours, theirs = session(), session()
    register(theirs, schema, GONE)
    other = PresenceQueries(schema, "default", GONE)
    perform(theirs, announced(other, workflows=[("w", None)], **READY))
    ours.execute(
        f"""UPDATE "{schema}".owsuper_supervisors
        SET announced_at = now() - {age} * interval '1 second'""".encode()
    )
    [found] = presence.parse_others(perform(ours, queries.others()))
    assert not found.missing
    assert bool(found.answers) is answers


@pytest.mark.parametrize(
    ("status", "on_call", "free", "slots"),
    [
        ({"on_call": False, "free": 1, "slots": 4}, False, 1, 4),
        ({"on_call": True, "free": 12, "slots": 40}, True, 12, 40),
        ({}, True, 1, 2),  # it does not know that it could be off call
        ({"on_call": "no", "free": None, "slots": "many"}, True, 0, 0),
    ],
)
def test_a_supervisor_says_whether_it_is_on_call_and_how_busy_it_is(
    session: Session,
    schema: str,
    queries: PresenceQueries,
    status: dict[str, object],
    on_call: bool,
    free: int,
    slots: int,
) -> None:
    ours, theirs = session(), session()
    register(theirs, schema, GONE)
    perform(theirs, announced(PresenceQueries(schema, "default", GONE), **status))
    [found] = presence.parse_others(perform(ours, queries.others()))
    assert (found.on_call, found.free, found.slots) == (on_call, free, slots)


@pytest.mark.parametrize("status", [None, "1", "null", '"serving"', '[{"state": "serving"}]'])
def test_a_status_of_another_form_says_nothing(
    session: Session, schema: str, queries: PresenceQueries, tables: Tables, status: str | None
) -> None:
    ours, theirs = session(), session()
    register(theirs, schema, GONE)
    tables.update("owsuper_supervisors", GONE, status=status, workflows='[["w", null]]')
    [found] = presence.parse_others(perform(ours, queries.others()))
    assert not found.missing
    assert (found.answers, found.on_call, found.free) == (frozenset(), True, 0)
