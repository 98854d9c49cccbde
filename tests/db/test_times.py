"""Times that PostgreSQL can hold and datetime cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest

from owsuper.core.durations import MAX_TIME, MIN_TIME
from owsuper.core.pages import Position, Window
from owsuper.db import connect, times
from owsuper.db.claims import Claimed, ClaimQueries, parse_claim
from owsuper.db.lists import ListQueries, RunFilter
from owsuper.db.runs import RunStore
from tests.db.rows import ME, Tables, from_now, perform

MODERN = datetime(2026, 11, 26, 16, 22, 55, 120000, tzinfo=UTC)


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-26 16:22:55.12+00", MODERN),
        ("2026-11-26T21:52:55.12+05:30", MODERN),
        ("1800-01-01 00:00:00-05:53:28", datetime(1800, 1, 1, 5, 53, 28, tzinfo=UTC)),
        ("infinity", MAX_TIME),
        ("-infinity", MIN_TIME),
        ("20000-01-01T00:00:00+00:00", MAX_TIME),
        ("294276-12-31 23:59:59.999999+00", MAX_TIME),
        ("4713-01-01 00:00:00+00 BC", MIN_TIME),
        ("9999-12-31 23:59:59-08", MAX_TIME),
        ("0001-01-01 00:00:00+05:53:28", MIN_TIME),
    ],
)
def test_times_are_read_in_utc_and_kept_within_what_datetime_holds(
    text: str, moment: datetime
) -> None:
    assert times.read(text) == moment
    assert times.read(text).utcoffset() == MODERN.utcoffset()


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="noon"):
        times.read("noon")


@pytest.mark.parametrize("text", ["infinity", "-infinity", "20000-01-01 00:00Z", "0044-03-15 BC"])
def test_connections_read_any_time(database_url: str, text: str) -> None:
    query = b"SELECT $1::timestamptz, NULL::timestamptz"

    expected = (MIN_TIME if text.startswith("-") or text.endswith("BC") else MAX_TIME, None)
    with closing(connect.connect(database_url, application_name="owsuper test")) as conn:
        assert conn.execute(query, [text]).fetchone() == expected
        assert conn.execute(query, [text], prepare=True).fetchone() == expected


# --- claims ---------------------------------------------------------------------------------


def claim(session: psycopg.Connection, schema: str) -> Claimed:
    call = ClaimQueries(schema, "default").claim(
        10, [("w", None)], worker_prefix="host:1:", lease_seconds=30
    )
    return parse_claim(perform(session, call))


@pytest.mark.parametrize("deadline", ["infinity", "9999-12-31 23:59:59.999999Z", "20000-01-01 UTC"])
def test_a_deadline_that_never_comes_is_none(
    session: psycopg.Connection, tables: Tables, schema: str, deadline: str
) -> None:
    tables.pending(deadline_at=deadline)
    [run] = claim(session, schema).runs
    assert run.deadline_at is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [("-infinity", MIN_TIME), ("infinity", MAX_TIME), ("10000-01-01 UTC", MAX_TIME)],
)
def test_a_run_is_claimed_whatever_its_times(
    session: psycopg.Connection, tables: Tables, schema: str, text: str, moment: datetime
) -> None:
    due = "-infinity" if moment == MIN_TIME else from_now(-1)
    tables.pending(created_at=text, started_at=text, available_at=due)
    [run] = claim(session, schema).runs
    assert (run.created_at, run.started_at) == (moment, moment)


@pytest.mark.parametrize("due", ["infinity", "20000-01-01 UTC"])
def test_a_run_that_is_never_due_keeps_no_claim_from_being_read(
    session: psycopg.Connection, tables: Tables, schema: str, due: str
) -> None:
    tables.pending(available_at=due)
    claimed = claim(session, schema)
    assert claimed.runs == []
    assert claimed.next_due is None or claimed.next_due > 1e9
    tables.pending(available_at=from_now(60))
    next_due = claim(session, schema).next_due
    assert next_due is not None
    assert 50 < next_due < 60


def test_a_row_that_cannot_be_read_is_told_of_and_the_others_are_claimed() -> None:
    about = (
        b'{"next": null, "due": null, "new": null, "begun": null, "took": 0.0,'
        b' "more": false, "complete": true, "quiet": true, "waited": null}'
    )
    good = (
        b'{"run": "good", "name": "w", "version": null, "worker": "me", "attempts": 1,'
        b' "stored": false, "created": "2026-01-01T00:00:00+00:00", "suspect": false,'
        b' "started": "2026-01-01T00:00:00+00:00", "claimed": "2026-01-01T00:00:00+00:00",'
        b' "deadline": null, "trace": null}'
    )
    claimed = parse_claim(
        [(about, None), (b'{"run": "odd"}', None), (b"no JSON", None), (good, None)]
    )
    assert [run.run_id for run in claimed.runs] == ["good"]
    assert [run_id for run_id, _ in claimed.unreadable] == ["odd", repr(b"no JSON")]


# --- histories and lists --------------------------------------------------------------------


def test_a_history_is_loaded_whatever_its_times(
    session: psycopg.Connection, tables: Tables, schema: str
) -> None:
    run = tables.run(worker_id=ME)
    tables.step(run, id="b", created_at="infinity", started_at="infinity", finished_at="infinity")
    tables.step(run, id="a", created_at="-infinity", started_at="-infinity")
    loaded = RunStore(schema, "default").load(session, run, ME)
    assert [(each.id, each.created_at) for each in loaded.history] == [
        ("a", MIN_TIME),
        ("b", MAX_TIME),
    ]


def test_a_history_that_begins_before_all_times_is_loaded_whole(
    session: psycopg.Connection, tables: Tables, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owsuper.db.runs.MOST_ATTEMPTS_LOADED", 1)
    run = tables.run(worker_id=ME)
    for name, created in (("a", "-infinity"), ("b", "-infinity"), ("c", from_now(-9))):
        tables.step(run, id=name, created_at=created, status="completed")
    loaded = RunStore(schema, "default").load(session, run, ME)
    assert [each.id for each in loaded.history] == ["a", "b", "c"]


@pytest.mark.parametrize("created", ["infinity", "20000-01-01 UTC", "-infinity", "0044-03-15 BC"])
def test_pages_come_to_an_end_whatever_the_times(
    session: psycopg.Connection, tables: Tables, schema: str, created: str
) -> None:
    lists = ListQueries(schema, "default")
    run = tables.run(created_at=created)
    attempt = tables.step(run, created_at=created)
    moment = MAX_TIME if "-" not in created[:1] and "BC" not in created else MIN_TIME
    [listed] = lists.runs(Window(), RunFilter()).run(session)
    assert (listed.id, listed.created_at) == (run, moment)
    for backward in (False, True):
        window = Window(position=Position(moment, run), backward=backward)
        assert lists.runs(window, RunFilter()).run(session) == []
        window = Window(position=Position(moment, attempt), backward=backward)
        assert lists.attempts(run, window).run(session) == []
