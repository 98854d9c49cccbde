"""When schedules are due: calendars, changes of clocks, intervals, and ticks that nobody served."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from owsuper.core.schedules import cron
from owsuper.core.schedules.due import ON_TIME, decide
from owsuper.core.schedules.tick import as_text, delay_of, key_of, run_id_of
from owsuper.core.schedules.timetable import Timetable, zone
from owsuper.core.schedules.words import in_words
from owsuper.errors import ConfigurationError

MINUTE = timedelta(minutes=1)
HOURS = 30
# The evenings before clocks change in 2025: by an hour in the north, by half an hour in the south.
CHANGES = [
    ("Europe/Berlin", datetime(2025, 3, 29, 20)),
    ("Europe/Berlin", datetime(2025, 10, 25, 20)),
    ("America/New_York", datetime(2025, 3, 8, 20)),
    ("America/New_York", datetime(2025, 11, 1, 20)),
    ("Australia/Lord_Howe", datetime(2025, 4, 5, 20)),
    ("Australia/Lord_Howe", datetime(2025, 10, 4, 20)),
]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def ticks(text: str, timezone: str, since: datetime, number: int) -> list[datetime]:
    timetable = Timetable(cron=text, every=None, timezone=timezone)
    return list(islice(timetable.between(since, utc(2100, 1, 1)), number))


def local(times: list[datetime], timezone: str) -> list[str]:
    return [f"{each.astimezone(ZoneInfo(timezone)):%m-%d %H:%M %z}" for each in times]


# --- changes of clocks -----------------------------------------------------------------------


def walked(text: str, timezone: str, start: datetime) -> Iterator[datetime]:
    """The times of an expression by walking through all minutes that clocks show or skip."""
    place = ZoneInfo(timezone)
    minute, hour, *_ = text.split()
    is_rhythm = minute[0] == "*" or hour[0] == "*"

    def clock(moment: datetime) -> datetime:
        return moment.astimezone(place).replace(tzinfo=None, fold=0)

    first, last = clock(start) - timedelta(hours=3), clock(start) + timedelta(hours=HOURS + 3)
    in_calendar = set(takewhile(lambda each: each < last, CronSim(text, first)))
    seen = {clock(start - k * MINUTE) for k in range(1, 120)}
    shown = clock(start - MINUTE)
    for passed in range(HOURS * 60):
        moment = start + passed * MINUTE
        before, shown = shown, clock(moment)
        if is_rhythm:
            meant = {shown}
        else:  # a job of the day: what was skipped comes at once, and what repeats is over
            skipped = (shown - before) // MINUTE
            meant = {shown - k * MINUTE for k in range(max(skipped, 1))} - seen
            seen |= meant
        if meant & in_calendar:
            yield moment


fields = st.one_of(
    st.just("*"),
    st.integers(2, 12).map("*/{}".format),
    st.lists(st.integers(0, 59), min_size=1, max_size=3).map(lambda n: ",".join(map(str, n))),
)
hours = st.sampled_from(["*", "*/2", "*/3", "1", "2", "3", "0-3", "1,2", "0", "23", "1-4/2"])


@settings(max_examples=60)
@given(fields, hours, st.sampled_from(CHANGES))
@example("30", "2", CHANGES[0])
@example("30", "2", CHANGES[1])
@example("15", "*/3", CHANGES[4])
def test_the_times_around_a_change_of_clocks_are_those_of_walking_through_all_minutes(
    minute: str, hour: str, change: tuple[str, datetime]
) -> None:
    text, (timezone, evening) = f"{minute} {hour} * * *", change
    start = evening.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)
    timetable = Timetable(cron=text, every=None, timezone=timezone)
    found = list(timetable.between(start, start + timedelta(hours=HOURS)))
    assert found == list(walked(text, timezone, start))


@given(fields, hours, st.sampled_from(CHANGES), st.integers(0, HOURS * 3600 - 1))
def test_from_whatever_moment_one_asks_the_next_time_is_the_same(
    minute: str, hour: str, change: tuple[str, datetime], seconds: int
) -> None:
    timezone, evening = change
    start = evening.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)
    timetable = Timetable(cron=f"{minute} {hour} * * *", every=None, timezone=timezone)
    asked = start + timedelta(seconds=seconds)
    following = timetable.next_after(asked)
    assert following is not None
    later = [each for each in timetable.between(start, following + MINUTE) if each > asked]
    assert later[0] == following
    assert (
        timetable.latest(1, start, asked)
        == [*(each for each in timetable.between(start, asked + timedelta(microseconds=1)))][-1:]
    )


def test_a_job_of_the_day_comes_once_when_an_hour_is_skipped_and_when_it_repeats() -> None:
    assert local(
        ticks("30 2 * * *", "Europe/Berlin", utc(2025, 3, 28, 12), 3), "Europe/Berlin"
    ) == [
        "03-29 02:30 +0100",
        "03-30 03:00 +0200",
        "03-31 02:30 +0200",
    ]
    assert local(
        ticks("30 1 * * *", "America/New_York", utc(2025, 11, 1), 3), "America/New_York"
    ) == [
        "11-01 01:30 -0400",
        "11-02 01:30 -0400",
        "11-03 01:30 -0500",
    ]


def test_a_rhythm_goes_on_through_a_repeated_hour() -> None:
    found = ticks("*/30 * * * *", "Europe/Berlin", utc(2025, 10, 26), 6)
    assert [b - a for a, b in pairwise(found)] == [30 * MINUTE] * 5


def test_a_zone_that_changes_by_half_an_hour_loses_no_hour() -> None:
    found = ticks("45 * * * *", "Australia/Lord_Howe", utc(2025, 4, 5, 12), 5)
    assert local(found, "Australia/Lord_Howe") == [
        "04-05 23:45 +1100",
        "04-06 00:45 +1100",
        "04-06 01:45 +1100",
        "04-06 01:45 +1030",
        "04-06 02:45 +1030",
    ]


def test_a_day_that_a_zone_has_skipped_has_its_job_at_the_next() -> None:
    found = ticks("0 12 * * *", "Pacific/Apia", utc(2011, 12, 29), 3)
    assert local(found, "Pacific/Apia") == [
        "12-29 12:00 -1000",
        "12-31 00:00 +1400",
        "12-31 12:00 +1400",
    ]


# --- calendars -------------------------------------------------------------------------------


def test_the_end_of_february_and_leap_years() -> None:
    assert [f"{each:%Y-%m-%d}" for each in ticks("0 0 29 2 *", "UTC", utc(2025, 1, 1), 3)] == [
        "2028-02-29",
        "2032-02-29",
        "2036-02-29",
    ]
    assert [f"{each:%m-%d}" for each in ticks("0 0 L * *", "UTC", utc(2027, 1, 31), 3)] == [
        "01-31",
        "02-28",
        "03-31",
    ]
    assert [f"{each:%m-%d}" for each in ticks("0 0 30 * *", "UTC", utc(2027, 1, 31), 2)] == [
        "03-30",
        "04-30",
    ]
    assert f"{ticks('0 0 29 2 *', 'UTC', utc(2097, 1, 1), 1)}" == "[]"  # 2100 is no leap year


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("@hourly", "2025-05-14 07:00"),
        ("@daily", "2025-05-15 00:00"),
        ("@midnight", "2025-05-15 00:00"),
        ("@weekly", "2025-05-18 00:00"),
        ("@monthly", "2025-06-01 00:00"),
        ("@yearly", "2026-01-01 00:00"),
        ("@annually", "2026-01-01 00:00"),
        ("@Daily", "2025-05-15 00:00"),
    ],
)
def test_names_stand_for_expressions(name: str, first: str) -> None:
    assert cron.check(name) == name
    assert f"{ticks(name, 'UTC', utc(2025, 5, 14, 6, 30), 1)[0]:%Y-%m-%d %H:%M}" == first


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 3 * * *", "6 fields. Write five"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 9", "bad day-of-week"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("a b c d e", "bad minute"),
        ("@fortnightly", "is none of @yearly"),
        ("*/0 * * * *", "bad minute"),
        (7, "must be text"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        cron.check(text)
    assert str(caught.value).startswith("cron: ")


@pytest.mark.parametrize(
    "name", ["Europe/Bonn", "", "../etc/passwd", "/etc/passwd", "Europe", "A\0"]
)
def test_an_unknown_time_zone_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match="this host knows no time zone") as caught:
        zone(name)
    assert repr(name) in str(caught.value)


# --- intervals, start and end ----------------------------------------------------------------


def test_an_interval_counts_from_1970_so_that_all_hosts_agree() -> None:
    timetable = Timetable(cron=None, every=900, timezone="UTC")
    assert timetable.next_after(utc(2025, 5, 14, 6, 7)) == utc(2025, 5, 14, 6, 15)
    assert timetable.next_after(utc(2025, 5, 14, 6, 15)) == utc(2025, 5, 14, 6, 30)


def test_an_interval_with_a_start_counts_from_there_and_ends_before_its_end() -> None:
    start = utc(2025, 5, 14, 6, 7)
    timetable = Timetable(
        cron=None, every=600, timezone="UTC", start=start, end=start + timedelta(minutes=30)
    )
    assert list(timetable.between(utc(2000, 1, 1), utc(2030, 1, 1))) == [
        start,
        start + timedelta(minutes=10),
        start + timedelta(minutes=20),
    ]


def test_an_expression_has_no_times_before_its_start_nor_from_its_end_on() -> None:
    timetable = Timetable(
        cron="0 * * * *",
        every=None,
        timezone="UTC",
        start=utc(2025, 5, 14, 6),
        end=utc(2025, 5, 14, 8),
    )
    found = list(timetable.between(utc(2000, 1, 1), utc(2030, 1, 1)))
    assert found == [utc(2025, 5, 14, 6), utc(2025, 5, 14, 7)]


def test_the_latest_of_millions_of_ticks_are_found_at_once() -> None:
    timetable = Timetable(cron=None, every=1, timezone="UTC")
    until = utc(2025, 5, 14)
    assert timetable.latest(3, utc(1990, 1, 1), until) == [
        until - timedelta(seconds=k) for k in (2, 1, 0)
    ]
    rare = Timetable(cron="0 0 29 2 *", every=None, timezone="UTC")
    assert rare.latest(5, utc(2015, 1, 1), until) == [
        utc(2016, 2, 29),
        utc(2020, 2, 29),
        utc(2024, 2, 29),
    ]


# --- ticks that nobody served ----------------------------------------------------------------

HOURLY = Timetable(cron="0 * * * *", every=None, timezone="UTC")
AT = utc(2025, 5, 14, 6)


def test_a_tick_that_is_due_fires_whatever_the_policy() -> None:
    for policy in ("none", "last", "all"):
        decision = decide(HOURLY, AT, AT + ON_TIME, catch_up=policy, limit=100)
        assert (decision.tick, decision.following) == (AT, AT + timedelta(hours=1))


def test_of_missed_ticks_none_the_last_or_all_fire() -> None:
    now = AT + timedelta(hours=5, minutes=30)
    none = decide(HOURLY, AT, now, catch_up="none", limit=100)
    assert (none.tick, none.following) == (None, AT + timedelta(hours=6))
    last = decide(HOURLY, AT, now, catch_up="last", limit=100)
    assert (last.tick, last.following) == (AT + timedelta(hours=5), AT + timedelta(hours=6))
    fired, at = [], AT
    while at <= now:
        every = decide(HOURLY, at, now, catch_up="all", limit=100)
        assert every.tick is not None
        assert every.following is not None
        fired.append(every.tick)
        at = every.following
    assert fired == [AT + timedelta(hours=k) for k in range(6)]


def test_of_all_missed_ticks_only_the_latest_up_to_the_limit_fire() -> None:
    now = AT + timedelta(hours=5, minutes=30)
    decision = decide(HOURLY, AT, now, catch_up="all", limit=2)
    assert (decision.tick, decision.following) == (
        AT + timedelta(hours=4),
        AT + timedelta(hours=5),
    )


def test_all_missed_ticks_are_sought_once_whoever_fires_some_of_them() -> None:
    now = AT + timedelta(hours=5, minutes=30)
    decision = decide(HOURLY, AT, now, catch_up="all", limit=100)
    never_asked: Any = None
    for hours in (1, 2, 4):  # another host fires the third
        at = AT + timedelta(hours=hours)
        decision = decide(never_asked, at, now, catch_up="all", limit=100, missed=decision.missed)
        assert (decision.tick, decision.following) == (at, at + timedelta(hours=1))
    other = AT + timedelta(hours=4, minutes=30)  # the schedule has changed
    changed = decide(HOURLY, other, now, catch_up="all", limit=100, missed=decision.missed)
    assert (changed.tick, changed.following) == (other, AT + timedelta(hours=5))


def test_with_none_the_latest_tick_fires_if_it_is_on_time_though_others_were_missed() -> None:
    now = AT + timedelta(hours=2, seconds=10)
    decision = decide(HOURLY, AT, now, catch_up="none", limit=100)
    assert decision.tick == AT + timedelta(hours=2)


def test_a_time_of_another_host_that_knows_the_zone_differently_counts() -> None:
    odd = AT + timedelta(minutes=30)
    decision = decide(HOURLY, odd, odd, catch_up="last", limit=100)
    assert (decision.tick, decision.following) == (odd, AT + timedelta(hours=1))


# --- what a tick is called -------------------------------------------------------------------


def test_all_hosts_give_the_run_of_a_tick_the_same_id_and_no_two_ticks_share_one() -> None:
    berlin = AT.astimezone(ZoneInfo("Europe/Berlin"))
    assert run_id_of("n", "s", "w", AT) == run_id_of("n", "s", "w", berlin)
    ids = {
        run_id_of(namespace, schedule, workflow, at)
        for namespace in ("n", "m")
        for schedule in ("s", "t")
        for workflow in ("w", "v")
        for at in (AT, AT + timedelta(seconds=1))
    }
    assert len(ids) == 16
    assert (as_text(berlin), key_of("s", berlin)) == (
        "2025-05-14T06:00:00Z",
        "s@2025-05-14T06:00:00Z",
    )


def test_jitter_spreads_runs_and_is_the_same_on_all_hosts() -> None:
    delays = [delay_of("s", AT + timedelta(hours=k), 60) for k in range(200)]
    assert all(0 <= each <= 60 for each in delays)
    assert min(delays) < 10
    assert max(delays) > 50
    assert delays[0] == delay_of("s", AT.astimezone(ZoneInfo("Asia/Tokyo")), 60)
    assert delay_of("s", AT, 0) == 0


@pytest.mark.parametrize(
    ("text", "every", "words"),
    [
        ("0 3 * * *", None, "At 03:00 every day (Europe/Berlin)"),
        ("@hourly", None, "At the start of every hour (Europe/Berlin)"),
        (None, 900.0, "Every 15 minutes"),
        (None, 3600.0, "Every hour"),
        (None, 90.0, "Every 90 seconds"),
        (None, 172_800.0, "Every 2 days"),
    ],
)
def test_schedules_in_words(text: str | None, every: float | None, words: str) -> None:
    assert in_words(text, every, "Europe/Berlin") == words
