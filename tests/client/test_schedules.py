"""``@ow.schedule`` and ``ow.schedules``: what can be declared, made, found and changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow, ScheduleStatus, Step, Tick
from owsuper.errors import (
    ConfigurationError,
    InvalidData,
    InvalidDuration,
    OwsuperError,
    RegistrationError,
    RunNotFound,
    ScheduleError,
    ScheduleExists,
    ScheduleNotDeletable,
    ScheduleNotFound,
)

FAR = datetime(2099, 1, 1, tzinfo=UTC)


def declared(ow: OpenWorkflow, name: str) -> Any:
    return next(each.spec() for each in ow.declared_schedules if each.name == name)


# --- declaring ---------------------------------------------------------------------------------


def test_a_workflow_that_declares_the_tick_gets_it() -> None:
    ow = OpenWorkflow()

    @ow.schedule("0 3 * * *", timezone="Europe/Berlin")
    @ow.workflow
    def nightly(step: Step, tick: Tick) -> None: ...

    spec = declared(ow, "nightly")
    assert (spec.cron, spec.timezone, spec.takes_tick, spec.input) == (
        "0 3 * * *",
        "Europe/Berlin",
        True,
        None,
    )
    assert nightly.name == "nightly"  # the decorator returns the workflow


def test_another_workflow_gets_the_input_or_none() -> None:
    ow = OpenWorkflow()

    @ow.schedule(every="15m", input=[1, 2], name="some")
    @ow.workflow
    def add(step: Step, input: list[int]) -> None: ...

    @ow.schedule("@daily")
    @ow.workflow
    def clean(step: Step) -> None: ...

    some, cleaning = declared(ow, "some"), declared(ow, "clean")
    assert (some.every, some.takes_tick, some.input) == (900, False, "[1,2]")
    assert (cleaning.takes_tick, cleaning.input) == (False, None)


def test_the_runs_have_the_priority_of_the_workflow(ow: OpenWorkflow) -> None:
    @ow.workflow(priority=7)
    def urgent(step: Step) -> None: ...

    ow.schedules.create("urgent", urgent, every="1d")
    run = ow.schedules.trigger("urgent").details()
    assert run.priority == 7


def test_a_workflow_may_have_several_schedules() -> None:
    ow = OpenWorkflow()

    @ow.schedule("0 3 * * *", name="at night")
    @ow.schedule("0 15 * * *", name="by day")
    @ow.workflow
    def report(step: Step) -> None: ...

    assert [each.name for each in ow.declared_schedules] == ["by day", "at night"]


def test_two_schedules_of_one_name_are_refused() -> None:
    ow = OpenWorkflow()

    @ow.schedule("0 3 * * *")
    @ow.workflow
    def report(step: Step) -> None: ...

    with pytest.raises(RegistrationError, match='Two schedules are named "report"'):
        ow.schedule("0 4 * * *")(report)


Case = tuple[dict[str, Any], type[OwsuperError], str]
REFUSED: list[Case] = [
    ({}, ConfigurationError, "pass either a cron text"),
    ({"cron": "0 3 * * *", "every": "5m"}, ConfigurationError, "pass either a cron text"),
    ({"cron": "no cron"}, ConfigurationError, "cron: 'no cron' has 2 fields"),
    (
        {"cron": "@daily", "timezone": "Europe/Bonn"},
        ConfigurationError,
        "no time zone 'Europe/Bonn'",
    ),
    ({"every": "5m", "timezone": "UTC"}, ConfigurationError, "timezone has no effect with every"),
    ({"every": "half an hour"}, InvalidDuration, "^every: "),
    ({"every": 0}, ConfigurationError, "every: 0 must be from 1 second to 100 years"),
    ({"every": "-5m"}, ConfigurationError, "every: '-5m' must be from 1 second to"),
    ({"every": "1500ms"}, ConfigurationError, "every: '1500ms' is not a whole number of seconds"),
    (
        {"every": "5m", "jitter": "2d"},
        ConfigurationError,
        "jitter: '2d' must be from 0 seconds to 1 day",
    ),
    ({"every": "5m", "jitter": "some"}, InvalidDuration, "^jitter: "),
    ({"every": "5m", "catch_up": "some"}, ConfigurationError, "catch_up: 'some' is none of 'none'"),
    (
        {"every": "5m", "overlap": "maybe"},
        ConfigurationError,
        "overlap: 'maybe' is none of 'allow'",
    ),
    ({"every": "5m", "catch_up_limit": 0}, ConfigurationError, "catch_up_limit: 0 must be"),
    (
        {"every": "5m", "start": datetime(2025, 1, 1)},
        ConfigurationError,
        "start: expected an aware",
    ),
    ({"every": "5m", "start": FAR, "end": FAR}, ConfigurationError, "is not after start"),
    ({"every": "5m", "name": ""}, ConfigurationError, "Invalid name of a schedule ''"),
    ({"every": "5m", "name": "n" * 201}, ConfigurationError, "it has 201 characters"),
]


@pytest.mark.parametrize(("given", "kind", "message"), REFUSED, ids=[str(c[0]) for c in REFUSED])
def test_what_cannot_be_a_schedule_is_refused_before_anything_is_stored(
    given: dict[str, Any], kind: type[OwsuperError], message: str
) -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def report(step: Step) -> None: ...

    with pytest.raises(kind, match=message):
        ow.schedule(given.pop("cron", None), **given)(report)
    assert len(ow.declared_schedules) == 0


def test_an_input_that_does_not_fit_is_refused() -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def number(step: Step, input: int) -> None: ...

    @ow.workflow
    def ticking(step: Step, tick: Tick) -> None: ...

    with pytest.raises(InvalidData):
        ow.schedule("@daily", input="seven")(number)
    with pytest.raises(InvalidData):
        ow.schedule("@daily")(number)
    with pytest.raises(ConfigurationError, match="takes the tick of its schedule"):
        ow.schedule("@daily", input={})(ticking)


def test_a_decorator_in_the_wrong_place_says_where_it_belongs() -> None:
    ow = OpenWorkflow()

    def report(step: Step) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Put @ow.schedule\(...\) above @ow.workflow"):
        ow.schedule("@daily")(report)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match=r"Write @ow.schedule\('0 3 \* \* \*'\)"):
        ow.schedule(ow.workflow(report))  # type: ignore[arg-type]


# --- making and finding ------------------------------------------------------------------------


def test_a_schedule_is_made_found_and_listed(ow: OpenWorkflow) -> None:
    made = ow.schedules.create(
        "nightly",
        "report",
        "0 3 * * *",
        version="2",
        timezone="Europe/Berlin",
        input={"a": 1},
        jitter="30s",
        overlap="skip",
        catch_up="all",
        catch_up_limit=7,
    )
    found = ow.schedules.get("nightly")
    assert [each.name for each in ow.schedules.list()] == ["nightly"]
    assert (made.name, made.state, made.workflow_name, made.version) == (
        "nightly",
        "active",
        "report",
        "2",
    )
    assert (made.words, made.input, made.jitter) == (
        "At 03:00 every day (Europe/Berlin)",
        {"a": 1},
        timedelta(seconds=30),
    )
    assert (made.overlap, made.catch_up, made.catch_up_limit) == ("skip", "all", 7)
    assert made.declared_in is None
    assert made.next_at is not None
    assert found.next_at == made.next_at > found.read_at


def test_schedules_are_listed_by_name_in_parts(ow: OpenWorkflow) -> None:
    for name in "cab":
        ow.schedules.create(name, "w", every="15m")
    for part, names in (
        ({}, "abc"),
        ({"limit": 2}, "ab"),
        ({"after": "b", "limit": 2}, "c"),
        ({"after": "aa"}, "bc"),
        ({"after": "c"}, ""),
    ):
        assert [each.name for each in ow.schedules.list(**part)] == list(names), part


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"limit": 0}, "limit: must be a whole number from 1, not 0"),
        ({"limit": True}, "limit: must be a whole number from 1, not True"),
        ({"after": 7}, "after: 7 is the name of no schedule"),
        ({"after": "\0"}, "is the name of no schedule"),
    ],
)
def test_a_part_that_cannot_be_one_is_refused(
    ow: OpenWorkflow, part: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ow.schedules.list(**part)
    with pytest.raises(ConfigurationError, match=message):
        asyncio.run(ow.schedules.alist(**part))


def test_making_an_equal_schedule_again_has_no_effect_and_another_is_refused(
    ow: OpenWorkflow,
) -> None:
    first = ow.schedules.create("poll", "w", every="15m")
    again = ow.schedules.create("poll", "w", every=900)
    assert again.created_at == first.created_at
    with pytest.raises(ScheduleExists, match='There is another schedule "poll"') as caught:
        ow.schedules.create("poll", "w", every="20m")
    assert caught.value.name == "poll"
    assert ow.schedules.get("poll").every == timedelta(minutes=15)


def test_a_schedule_without_a_tick_to_come_is_refused(ow: OpenWorkflow) -> None:
    with pytest.raises(ConfigurationError, match="no tick is to come"):
        ow.schedules.create("past", "w", every="15m", end=datetime(2020, 1, 1, tzinfo=UTC))
    assert ow.schedules.list() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda ow: ow.schedules.get("none"),
        lambda ow: ow.schedules.ticks("none"),
        lambda ow: ow.schedules.pause("none"),
        lambda ow: ow.schedules.resume("none"),
        lambda ow: ow.schedules.trigger("none"),
        lambda ow: ow.schedules.backfill("none", since=timedelta(days=1)),
        lambda ow: ow.schedules.delete("none"),
    ],
)
def test_a_schedule_that_does_not_exist_is_named(
    ow: OpenWorkflow, call: Callable[[OpenWorkflow], object]
) -> None:
    with pytest.raises(ScheduleNotFound, match='There is no schedule "none"') as caught:
        call(ow)
    assert isinstance(caught.value, ScheduleError)


# --- changing ----------------------------------------------------------------------------------


def test_pause_and_resume(ow: OpenWorkflow) -> None:
    ow.schedules.create("poll", "w", every="15m")
    paused = ow.schedules.pause("poll")
    assert (paused.state, paused.paused_at is not None) == ("paused", True)
    assert ow.schedules.pause("poll").paused_at == paused.paused_at
    resumed = ow.schedules.resume("poll")
    assert (resumed.state, resumed.paused_at) == ("active", None)
    assert ow.schedules.resume("poll").next_at == resumed.next_at


def test_a_schedule_may_begin_paused(ow: OpenWorkflow) -> None:
    assert ow.schedules.create("poll", "w", every="15m", paused=True).state == "paused"


def test_a_deleted_schedule_is_gone_and_its_runs_stay(ow: OpenWorkflow) -> None:
    ow.schedules.create("poll", "w", every="15m")
    run = ow.schedules.trigger("poll")
    ow.schedules.delete("poll")
    assert ow.schedules.list() == []
    assert run.status() == "pending"
    with pytest.raises(ScheduleNotFound):
        ow.schedules.delete("poll")


def test_a_schedule_that_the_code_of_workers_declares_cannot_be_deleted(
    ow: OpenWorkflow, conn: psycopg.Connection, schema: str
) -> None:
    ow.schedules.create("poll", "w", every="15m")
    conn.execute(
        f"UPDATE \"{schema}\".owsuper_schedules SET declared_in = 'flows', confirmed_at = now()"
    )
    with pytest.raises(ScheduleNotDeletable, match=r"declared in the code of workers \(flows\)"):
        ow.schedules.delete("poll")
    with pytest.raises(ScheduleExists, match='another schedule "poll", in flows'):
        ow.schedules.create("poll", "w", every="15m")


# --- starting runs -----------------------------------------------------------------------------


def test_trigger_starts_a_run_now(ow: OpenWorkflow) -> None:
    ow.schedules.create("poll", "w", every="1d", paused=True)
    first, second = ow.schedules.trigger("poll"), ow.schedules.trigger("poll")
    assert first.id != second.id
    run = first.details()
    assert (run.workflow_name, run.status) == ("w", "pending")
    assert run.input["schedule"] == "poll"
    assert datetime.now(UTC) - datetime.fromisoformat(run.input["at"]) < timedelta(minutes=5)
    assert ow.schedules.get("poll").previous_at is None
    assert ow.schedules.ticks("poll")[0].outcome == "triggered"


def test_backfill_starts_the_runs_of_past_ticks_that_have_none(ow: OpenWorkflow) -> None:
    ow.schedules.create("daily", "w", "0 12 * * *", timezone="Europe/Berlin")
    since = datetime(2025, 3, 28, tzinfo=UTC)
    handles = ow.schedules.backfill("daily", since=since, until=since + timedelta(days=4))
    inputs = sorted((handle.details().input for handle in handles), key=lambda each: each["at"])
    assert [each["at"] for each in inputs] == [
        "2025-03-28T11:00:00Z",
        "2025-03-29T11:00:00Z",
        "2025-03-30T10:00:00Z",
        "2025-03-31T10:00:00Z",
    ]
    assert [each["previous"] for each in inputs][1:] == [each["at"] for each in inputs][:-1]
    more = ow.schedules.backfill("daily", since=since, until=since + timedelta(days=6))
    assert len(more) == 2
    assert ow.get_run("w", key="daily@2025-03-28T11:00:00Z").id in {each.id for each in handles}
    assert {tick.outcome for tick in ow.schedules.ticks("daily")} == {"backfilled"}
    assert len(ow.schedules.backfill("daily", since="3d", until="1d")) == 2


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"since": datetime(2025, 1, 1)}, "since: .* has no time zone"),
        ({"since": "-1h"}, "since: must be an aware time, or how long ago"),
        ({"since": "yesterday"}, "yesterday"),
        ({"since": FAR}, "since: .* is in the future"),
        ({"since": timedelta(days=1), "until": FAR}, "until: .* is in the future"),
        ({"since": timedelta(1), "until": timedelta(2)}, "is not after since"),
        ({"since": timedelta(days=30)}, "there are more than 10000 ticks"),
    ],
)
def test_times_that_cannot_be_backfilled_are_refused_before_anything_is_stored(
    ow: OpenWorkflow, times: dict[str, Any], message: str
) -> None:
    ow.schedules.create("often", "w", "* * * * *")
    with pytest.raises(ConfigurationError, match=message):
        ow.schedules.backfill("often", **times)
    assert ow.list_runs().items == ()


@pytest.mark.parametrize("limit", [0, 201, "ten"])
def test_a_limit_of_ticks_that_is_none_is_refused(ow: OpenWorkflow, limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit: "):
        ow.schedules.ticks("poll", limit=limit)


# --- async -------------------------------------------------------------------------------------


async def everything(ow: OpenWorkflow) -> ScheduleStatus:
    await ow.schedules.acreate("daily", "w", "0 12 * * *")
    await ow.schedules.apause("daily")
    await ow.schedules.aresume("daily")
    triggered = await ow.schedules.atrigger("daily")
    assert (await triggered.adetails()).workflow_name == "w"
    filled = await ow.schedules.abackfill("daily", since=timedelta(days=3))
    assert len(filled) == 3
    assert len(await ow.schedules.aticks("daily")) >= 3
    await ow.schedules.acreate("other", "w", every="1h")
    await ow.schedules.adelete("other")
    assert [each.name for each in await ow.schedules.alist()] == ["daily"]
    with pytest.raises(ScheduleNotFound):
        await ow.schedules.aget("other")
    return await ow.schedules.aget("daily")


def test_the_awaitable_methods_do_the_same(ow: OpenWorkflow) -> None:
    import asyncio

    assert asyncio.run(everything(ow)).state == "active"
    with pytest.raises(RunNotFound):
        ow.get_run("w", key="daily@2000-01-01T12:00:00Z")
