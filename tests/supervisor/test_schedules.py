"""Schedules of supervisors on a real database, by a clock that is the test's."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest

from owsuper import OpenWorkflow, Step
from owsuper.core.schedules import timetable as timetable_module
from owsuper.core.schedules.spec import ScheduleSpec
from owsuper.db import schedules as schedule_queries
from owsuper.db.connect import conninfo
from owsuper.errors import ConfigurationError
from owsuper.event_loop import Loop
from owsuper.ipc.messages import ApplicationLoaded
from owsuper.settings import Settings
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.schedules import ScheduleDuty
from owsuper.workflow.scheduling import make

START = datetime(2025, 5, 14, 6, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Clock:
    """The time of the database, for sessions whose search path begins with ``schema``."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self._conn = conn
        self.schema = schema
        conn.execute(f"CREATE SCHEMA {schema}".encode())
        self.set(START)

    def set(self, now: datetime) -> None:
        self.now = now
        self._conn.execute(
            f"CREATE OR REPLACE FUNCTION {self.schema}.now() RETURNS timestamptz STABLE"
            f" LANGUAGE sql AS $$ SELECT timestamptz '{now.isoformat()}' $$".encode()
        )

    def advance(self, by: timedelta) -> None:
        self.set(self.now + by)

    def url(self, url: str) -> str:
        path = quote(
            f"-c search_path={self.schema},pg_catalog -c plan_cache_mode=force_custom_plan"
        )
        return f"{url}{'&' if '?' in url else '?'}options={path}"


class Supervisor:
    """The schedules of one supervisor, which looks when the test says so."""

    def __init__(self, url: str, schema: str, *modules: str) -> None:
        self.loop = Loop()
        self.loaded = ApplicationLoaded(workflows=(("w", None),))
        self.started = 0
        self.dead = False
        self.connection = KeptConnection(
            self.loop,
            conninfo(url, application_name="owsuper test"),
            name="test",
            on_up=lambda: None,
            on_down=lambda _: self.duty.on_connection_lost(),
        )
        self.duty = ScheduleDuty(
            self.loop,
            self.connection,
            Settings(schema=schema, modules=modules or ("flows",)),
            loaded=lambda: self.loaded,
            on_started=self._count,
        )
        self.connection.start()

    def _count(self) -> None:
        self.started += 1

    def declare(self, *specs: ScheduleSpec) -> None:
        self.loaded = ApplicationLoaded(workflows=(("w", None),), schedules=specs)

    def begin(self) -> None:
        """Begin to look, once there is a connection."""
        self.until(lambda: self.connection.up)
        self.duty.look()

    def finish(self) -> None:
        self.until(lambda: not self.duty.busy)

    def look(self) -> None:
        self.begin()
        self.finish()

    def settle(self) -> None:
        """Look until nothing is due any more."""
        decided = -1
        while decided != (decided := self.duty.ticks.total()):
            self.look()

    def die(self) -> None:
        """Lose the connection with whatever is in flight, as when the process is killed."""
        if not self.dead:
            self.dead = True
            self.connection.close()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        wake = self.loop.timers.add("wake", lambda: None, period=0.005)
        wake.start()
        while not condition():
            assert time.monotonic() < deadline
            self.loop.turn()
        self.loop.timers.drop(wake)


class Town:
    """Supervisors on one database, and what their schedules have started."""

    def __init__(self, url: str, conn: psycopg.Connection, schema: str, clock: Clock) -> None:
        self.url = clock.url(url)
        self.conn = conn
        self.schema = schema
        self.clock = clock
        self.ow = OpenWorkflow(self.url, schema=schema)
        self.supervisors: list[Supervisor] = []

    def supervisor(self, *modules: str) -> Supervisor:
        self.supervisors.append(Supervisor(self.url, self.schema, *modules))
        return self.supervisors[-1]

    def query(self, text: str) -> list[Any]:
        rows = self.conn.execute(text.replace("{s}", f'"{self.schema}"').encode()).fetchall()
        return [row[0] for row in rows]

    def run_keys(self) -> list[str]:
        """The keys of all runs, in the order of their ticks."""
        return self.query("SELECT idempotency_key FROM {s}.workflow_runs ORDER BY 1")

    def times(self) -> list[str]:
        return [key.partition("T")[2][:5] for key in self.run_keys()]

    def end(self, status: str = "completed") -> None:
        """End all runs."""
        self.query(
            f"UPDATE {{s}}.workflow_runs SET status = '{status}', available_at = NULL"
            " WHERE status = 'pending' RETURNING id"
        )

    def outcomes(self, name: str) -> list[tuple[str, str]]:
        return [(f"{each.at:%H:%M}", each.outcome) for each in self.ow.schedules.ticks(name)][::-1]


@pytest.fixture
def clock(conn: psycopg.Connection) -> Iterator[Clock]:
    clock = Clock(conn, f"clock_{uuid4().hex[:16]}")
    yield clock
    conn.execute(f"DROP SCHEMA {clock.schema} CASCADE".encode())


@pytest.fixture
def town(database_url: str, conn: psycopg.Connection, schema: str, clock: Clock) -> Iterator[Town]:
    town = Town(database_url, conn, schema, clock)
    yield town
    town.ow.close()
    for each in town.supervisors:
        each.die()
        each.loop.close()


def hourly(name: str = "hourly", cron: str = "0 * * * *", **timing: Any) -> ScheduleSpec:
    return make(name, "w", cron, **timing)


# --- once, whoever tries -----------------------------------------------------------------------


def test_a_tick_starts_one_run_with_the_tick_as_its_input(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *")
    one = town.supervisor()
    one.settle()
    assert town.run_keys() == []
    town.clock.advance(HOUR)
    one.settle()
    town.clock.advance(HOUR)
    one.settle()
    assert town.run_keys() == ["hourly@2025-05-14T07:00:00Z", "hourly@2025-05-14T08:00:00Z"]
    assert one.started == 2
    assert town.query("SELECT input FROM {s}.workflow_runs ORDER BY idempotency_key") == [
        {"at": "2025-05-14T07:00:00Z", "previous": None, "schedule": "hourly"},
        {"at": "2025-05-14T08:00:00Z", "previous": "2025-05-14T07:00:00Z", "schedule": "hourly"},
    ]
    assert town.outcomes("hourly") == [("07:00", "fired"), ("08:00", "fired")]


def test_runs_have_the_priority_of_the_workflow_and_begin_within_the_jitter(town: Town) -> None:
    @town.ow.workflow(priority=2)
    def w(step: object) -> None: ...

    town.ow.schedules.create("first", w, "0 * * * *")
    town.ow.schedules.create("later", "w", "0 * * * *", jitter="10m")
    town.clock.advance(HOUR)
    town.supervisor().settle()
    first, later = town.query("SELECT available_at FROM {s}.workflow_runs ORDER BY idempotency_key")
    at = START + HOUR
    assert first == at - 2 * MINUTE  # one level of priority is a minute of waiting
    assert at < later < at + 10 * MINUTE


def test_of_supervisors_that_try_at_once_one_starts_the_run(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *")
    several = [town.supervisor() for _ in range(4)]
    town.clock.advance(HOUR)
    for each in several:
        each.begin()
    for each in several:
        each.finish()
    for each in several:
        each.settle()
    assert town.times() == ["07:00"]
    assert sum(each.started for each in several) == 1


@pytest.mark.slow
def test_over_a_day_in_which_supervisors_die_each_tick_fires_once(town: Town) -> None:
    """Two supervisors race, and one of them is killed at any point of its work, again and again."""
    town.ow.schedules.create("often", "w", "*/5 * * * *", catch_up="all")
    town.ow.schedules.create("offset", "w", "2-59/10 * * * *", catch_up="all", jitter="1m")
    draw = random.Random(7)
    one, other = town.supervisor(), town.supervisor()
    for _ in range(96):
        town.clock.advance(15 * MINUTE)
        one.begin()
        other.begin()
        for _ in range(draw.randrange(8)):
            one.loop.turn()
        if draw.random() < 0.3:
            one.die()
            one = town.supervisor()
        other.settle()
        one.settle()
    counted = Counter(town.run_keys())
    assert set(counted.values()) == {1}
    assert len([key for key in counted if key.startswith("often")]) == 24 * 12
    assert len([key for key in counted if key.startswith("offset")]) == 24 * 6


def test_a_clock_of_the_database_that_is_set_back_repeats_nothing(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *")
    one = town.supervisor()
    for step in (3 * HOUR, -2 * HOUR, HOUR, HOUR, HOUR):
        town.clock.advance(step)
        one.settle()
    assert town.times() == ["09:00", "10:00"]


def test_a_supervisor_wakes_for_the_next_tick(town: Town) -> None:
    town.ow.schedules.create("soon", "w", every="1s")
    one = town.supervisor()
    one.look()
    town.clock.advance(timedelta(seconds=1))
    one.until(lambda: one.started)  # by its own timer, which was told how long that takes


# --- what nobody served ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "fired", "missed"),
    [
        ("none", [], ["07:00"]),
        ("last", ["10:00"], ["07:00"]),
        ("all", ["07:00", "08:00", "09:00", "10:00"], []),
    ],
)
def test_ticks_that_nobody_served_are_caught_up_by_policy(
    town: Town, catch_up: Any, fired: list[str], missed: list[str]
) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *", catch_up=catch_up)
    town.clock.advance(4 * HOUR + 30 * MINUTE)
    one = town.supervisor()
    one.settle()
    assert town.times() == fired
    town.clock.advance(30 * MINUTE)
    one.settle()
    assert town.times() == [*fired, "11:00"]
    outcomes = town.outcomes("hourly")
    assert [at for at, outcome in outcomes if outcome == "missed"] == missed
    assert one.duty.ticks["missed"] == len(missed)
    assert one.duty.ticks["fired"] == len(fired) + 1


def test_of_all_that_nobody_served_the_latest_are_caught_up_to_the_limit(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *", catch_up="all", catch_up_limit=2)
    town.clock.advance(10 * HOUR)
    town.supervisor().settle()
    assert town.times() == ["15:00", "16:00"]
    outcomes = [("07:00", "missed"), ("15:00", "fired"), ("16:00", "fired")]
    assert town.outcomes("hourly") == outcomes


def test_a_schedule_ends_with_its_last_tick(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *", end=START + 2 * HOUR)
    one = town.supervisor()
    town.clock.advance(5 * HOUR)
    one.settle()
    assert town.times() == ["07:00"]
    assert town.ow.schedules.get("hourly").state == "ended"


# --- what still runs ---------------------------------------------------------------------------


def after_each_hour(town: Town, hours: int, overlap: Any) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *", overlap=overlap)
    one = town.supervisor()
    for _ in range(hours):
        town.clock.advance(HOUR)
        one.settle()


def test_allow_starts_runs_beside_others(town: Town) -> None:
    after_each_hour(town, 3, "allow")
    assert town.times() == ["07:00", "08:00", "09:00"]


def test_skip_starts_none_while_one_has_not_ended(town: Town) -> None:
    after_each_hour(town, 2, "skip")
    assert town.times() == ["07:00"]
    town.end()
    town.clock.advance(HOUR)
    town.supervisors[0].settle()
    assert town.times() == ["07:00", "09:00"]
    assert town.outcomes("hourly") == [("07:00", "fired"), ("08:00", "skipped"), ("09:00", "fired")]


def test_queue_starts_one_after_the_other(town: Town) -> None:
    after_each_hour(town, 3, "queue")
    assert town.times() == ["07:00"]
    assert [each.hour for each in town.ow.schedules.get("hourly").queued] == [8, 9]
    for expected in (["07:00", "08:00"], ["07:00", "08:00", "09:00"]):
        town.end()
        town.supervisors[0].settle()
        assert town.times() == expected
    assert town.ow.schedules.get("hourly").queued == ()
    assert {outcome for _, outcome in town.outcomes("hourly")} == {"fired"}


def continue_all(town: Town) -> None:
    """Have all open runs continue as new."""
    town.query(
        "WITH old AS (UPDATE {s}.workflow_runs SET status = 'completed', available_at = NULL,"
        " context = jsonb_build_object('continuedAs', id || '+') WHERE status = 'pending'"
        " RETURNING *) INSERT INTO {s}.workflow_runs (namespace_id, id, workflow_name, status,"
        " config, attempts, available_at, created_at, updated_at) SELECT namespace_id, id || '+',"
        " workflow_name, 'pending', '{}', 0, now(), now(), now() FROM old RETURNING id"
    )


@pytest.mark.parametrize(
    ("overlap", "outcome"), [("skip", "skipped"), ("queue", "queued"), ("cancel_running", "fired")]
)
def test_a_run_that_has_continued_as_new_has_not_ended(
    town: Town, overlap: Any, outcome: str
) -> None:
    after_each_hour(town, 1, overlap)
    [first] = town.query("SELECT id FROM {s}.workflow_runs")
    for after in (HOUR, HOUR):
        continue_all(town)
        continue_all(town)
        town.clock.advance(after)
        town.supervisors[0].settle()
        town.supervisors[0].look()
    assert [each for _, each in town.outcomes("hourly")] == ["fired", outcome, outcome]
    [last] = town.query(
        f"SELECT id FROM {{s}}.workflow_runs WHERE id LIKE '{first}%' ORDER BY id DESC LIMIT 1"
    )
    ended = overlap == "cancel_running"
    assert last == first + ("++" if ended else "++++")
    assert town.query(f"SELECT status FROM {{s}}.workflow_runs WHERE id = '{last}'") == [
        "canceled" if ended else "pending"
    ]
    assert ended or town.query("SELECT open_runs FROM {s}.owsuper_schedules") == [[last]]
    if overlap == "queue":
        town.end()
        town.supervisors[0].settle()
        assert [each for _, each in town.outcomes("hourly")] == ["fired", "fired", "queued"]


def test_a_queue_has_a_limit(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *", overlap="queue", catch_up_limit=1)
    one = town.supervisor()
    for _ in range(3):
        town.clock.advance(HOUR)
        one.settle()
    assert [outcome for _, outcome in town.outcomes("hourly")] == ["fired", "queued", "skipped"]


def test_cancel_running_cancels_the_run_before(town: Town) -> None:
    after_each_hour(town, 3, "cancel_running")
    statuses = town.query("SELECT status FROM {s}.workflow_runs ORDER BY idempotency_key")
    assert statuses == ["canceled", "canceled", "pending"]


def test_ticks_of_a_paused_workflow_have_no_run_and_say_so(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    @town.ow.workflow
    def w(step: Step) -> None: ...

    town.ow.schedules.create("hourly", w, "0 * * * *")
    town.ow.pause_workflow(w)
    one = town.supervisor()
    town.clock.advance(HOUR)
    one.settle()
    assert town.run_keys() == []
    assert "a tick has no run: the workflow is paused" in caplog.text
    town.ow.resume_workflow(w)
    town.clock.advance(HOUR)
    one.settle()
    assert town.times() == ["08:00"]
    assert town.outcomes("hourly") == [("07:00", "paused"), ("08:00", "fired")]


def test_a_queue_waits_while_the_workflow_is_paused(town: Town) -> None:
    after_each_hour(town, 2, "queue")
    town.end()
    town.ow.pause_workflow("w")
    town.supervisors[0].look()
    assert town.times() == ["07:00"]
    town.ow.resume_workflow("w")
    town.supervisors[0].settle()
    assert town.times() == ["07:00", "08:00"]


def test_a_run_that_was_triggered_counts_as_one_of_the_schedule(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *", overlap="skip")
    town.ow.schedules.trigger("hourly")
    town.clock.advance(HOUR)
    town.supervisor().settle()
    assert [outcome for _, outcome in town.outcomes("hourly")] == ["triggered", "skipped"]


def test_a_schedule_that_is_only_triggered_remembers_its_latest_runs_alone(town: Town) -> None:
    town.ow.schedules.create("hourly", "w", "0 * * * *", overlap="skip", paused=True)
    last = [town.ow.schedules.trigger("hourly").id for _ in range(102)][-1]
    [remembered] = town.query("SELECT open_runs FROM {s}.owsuper_schedules")
    assert (len(remembered), remembered[-1]) == (100, last)


# --- what code declares ------------------------------------------------------------------------


def test_what_code_declares_is_stored_and_fires(town: Town) -> None:
    one = town.supervisor("app.flows")
    one.declare(hourly())
    one.look()
    schedule = town.ow.schedules.get("hourly")
    assert (schedule.state, schedule.declared_in) == ("active", "app.flows")
    town.clock.advance(HOUR)
    one.settle()
    assert town.times() == ["07:00"]


def test_newer_code_wins_and_older_code_that_starts_again_changes_nothing(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old = town.supervisor()
    old.declare(hourly())
    old.look()
    new = town.supervisor()
    new.declare(hourly(cron="30 * * * *"))
    new.look()
    assert "declared anew by this code" in caplog.text
    again = town.supervisor()
    again.declare(hourly())
    again.look()
    assert "newer code declares it differently" in caplog.text
    assert town.ow.schedules.get("hourly").cron == "30 * * * *"
    town.clock.advance(HOUR)
    for each in (old, again, new):
        each.settle()
    assert town.times() == ["06:30"]


def test_older_code_wins_again_when_no_worker_has_the_newer_any_more(town: Town) -> None:
    old, new = town.supervisor(), town.supervisor()
    old.declare(hourly())
    old.look()
    new.declare(hourly(cron="30 * * * *"))
    new.look()
    new.die()
    town.clock.advance(4 * MINUTE)
    back = town.supervisor()
    back.declare(hourly())
    back.look()
    assert town.ow.schedules.get("hourly").cron == "0 * * * *"


def test_newer_code_wins_again_after_an_outage_from_which_the_older_returned_first(
    town: Town,
) -> None:
    for cron in ("0 * * * *", "30 * * * *", "0 * * * *", "30 * * * *", "0 * * * *"):
        one = town.supervisor()
        one.declare(hourly(cron=cron))
        if town.supervisors.index(one) == 2:
            town.clock.advance(4 * MINUTE)  # the outage
        one.look()
        town.clock.advance(MINUTE)
        if town.supervisors.index(one) == 2:
            assert town.ow.schedules.get("hourly").cron == "0 * * * *"
    assert town.ow.schedules.get("hourly").cron == "30 * * * *"


def test_a_schedule_that_is_removed_from_the_code_fires_no_more_and_is_told_apart(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    town.ow.schedules.create("by hand", "w", "0 * * * *")
    old = town.supervisor()
    old.declare(hourly())
    old.look()
    new = town.supervisor()
    new.look()
    assert "removed from the code: it fires no more" in caplog.text
    again = town.supervisor()
    again.declare(hourly())
    again.look()
    states = {each.name: each.state for each in town.ow.schedules.list()}
    assert states == {"by hand": "active", "hourly": "removed"}
    town.clock.advance(HOUR)
    for each in (old, again, new):
        each.settle()
    assert town.run_keys() == ["by hand@2025-05-14T07:00:00Z"]
    town.ow.schedules.delete("hourly")


def test_a_schedule_of_other_modules_stays(town: Town) -> None:
    one, other = town.supervisor("app.one"), town.supervisor("app.other")
    one.declare(hourly())
    one.look()
    other.look()
    assert town.ow.schedules.get("hourly").state == "active"


def test_a_schedule_returns_with_the_code(town: Town) -> None:
    one = town.supervisor()
    one.declare(hourly())
    one.look()
    one.declare()
    one.look()
    town.clock.advance(4 * HOUR)
    one.declare(hourly(cron="30 * * * *"))
    one.settle()
    schedule = town.ow.schedules.get("hourly")
    assert (schedule.state, schedule.next_at) == ("active", START + 4 * HOUR + 30 * MINUTE)
    assert town.run_keys() == []


def test_a_schedule_made_by_hand_keeps_its_name(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.ow.schedules.create("hourly", "w", "15 * * * *")
    one = town.supervisor()
    one.declare(hourly())
    one.look()
    assert "somebody has made a schedule of this name by hand" in caplog.text
    assert town.ow.schedules.get("hourly").cron == "15 * * * *"


def test_a_due_tick_outlives_a_declaration_that_leaves_the_times_alone(town: Town) -> None:
    old = town.supervisor()
    old.declare(hourly())
    old.look()
    old.die()
    town.clock.advance(HOUR)
    new = town.supervisor()
    new.declare(hourly(jitter="5m"))
    new.settle()
    assert town.times() == ["07:00"]


def test_a_paused_schedule_stays_paused_when_workers_start_again(town: Town) -> None:
    one = town.supervisor()
    one.declare(hourly())
    one.look()
    town.ow.schedules.pause("hourly")
    again = town.supervisor()
    again.declare(hourly(jitter="5m"))
    town.clock.advance(HOUR)
    again.settle()
    assert town.run_keys() == []
    town.ow.schedules.resume("hourly")
    town.clock.advance(HOUR)
    again.settle()
    assert town.times() == ["08:00"]


# --- hosts that do not know a zone -------------------------------------------------------------


def test_a_host_without_the_zone_says_so_and_leaves_the_tick_to_others(
    town: Town, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.ow.schedules.create("berlin", "w", "0 * * * *", timezone="Europe/Berlin")
    town.ow.schedules.create("utc", "w", "0 * * * *")
    town.clock.advance(HOUR)
    lacking, other = town.supervisor(), town.supervisor()
    real = timetable_module.zone

    def zone(name: str) -> Any:
        if name == "Europe/Berlin":
            raise ConfigurationError(f"timezone: this host knows no time zone {name!r}")
        return real(name)

    with monkeypatch.context() as patch:
        patch.setattr(timetable_module, "zone", zone)
        lacking.settle()
    assert "this host cannot tell when it is due, so others must fire it" in caplog.text
    assert "knows no time zone 'Europe/Berlin'" in caplog.text
    assert town.run_keys() == ["utc@2025-05-14T07:00:00Z"]
    other.settle()
    assert town.run_keys() == ["berlin@2025-05-14T07:00:00Z", "utc@2025-05-14T07:00:00Z"]


def test_schedules_that_a_host_cannot_tell_the_time_of_do_not_hide_the_others(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_queries, "_DUE", 2)
    for number in range(3):
        town.ow.schedules.create(f"b{number}", "w", "0 * * * *", timezone="Europe/Berlin")
    town.ow.schedules.create("utc", "w", "1 * * * *")
    town.clock.advance(HOUR + MINUTE)
    one = town.supervisor()
    real = timetable_module.zone

    def zone(name: str) -> Any:
        if name == "Europe/Berlin":
            raise ConfigurationError(f"timezone: this host knows no time zone {name!r}")
        return real(name)

    with monkeypatch.context() as patch:
        patch.setattr(timetable_module, "zone", zone)
        one.settle()
        assert town.run_keys() == ["utc@2025-05-14T07:01:00Z"]
    one.settle()  # it leaves them out for a while
    assert len(town.run_keys()) == 1
    one.duty.look_at_changed()
    one.finish()
    one.settle()
    assert len(town.run_keys()) == 4


def test_hosts_whose_zone_data_differ_fire_each_tick_once(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.ow.schedules.create("berlin", "w", "0 9 * * *", timezone="Europe/Berlin")
    stale, current = town.supervisor(), town.supervisor()
    real = timetable_module.zone
    for day in range(4):
        town.clock.advance(24 * HOUR)
        first, second = (stale, current) if day % 2 else (current, stale)
        for each in (first, second):
            with monkeypatch.context() as patch:
                if each is stale:
                    patch.setattr(timetable_module, "zone", lambda _: real("Europe/Moscow"))
                each.settle()
    days = Counter(key.partition("@")[2][:10] for key in town.run_keys())
    assert len(days) == 4
    assert set(days.values()) == {1}


# --- who has none ------------------------------------------------------------------------------


def test_a_namespace_without_schedules_costs_one_look_and_no_calendar(town: Town) -> None:
    one = town.supervisor()
    one.look()
    assert one.connection.round_trips <= 2  # prepared, and executed
    before = one.connection.round_trips
    one.look()
    assert one.connection.round_trips == before + 1
