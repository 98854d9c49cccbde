"""``owsuper schedules``: what is printed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import pytest

from owsuper import OpenWorkflow
from tests.cli.running import Result, Run

Command = Callable[..., Result]


@pytest.fixture
def schedules(owsuper: Run, database_url: str, schema: str) -> Command:
    """``owsuper schedules`` on the schema of the test."""
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    return lambda *argv: owsuper("schedules", *argv, env=env)


def test_a_schedule_from_its_creation_to_its_end(schedules: Command) -> None:
    made = schedules(
        *("create", "nightly", "--workflow", "report", "--cron", "0 3 * * *"),
        *("--timezone", "Europe/Berlin", "--overlap", "skip", "--input", '{"a": 1}'),
    )
    assert (made.code, made.stdout) == (0, "")
    assert "created: nightly: At 03:00 every day (Europe/Berlin); next at " in made.stderr
    listed = schedules("list").stdout
    assert listed.splitlines()[0].split() == ["NAME", "STATE", "NEXT", "LAST", "WORKFLOW", "WHEN"]
    assert "At 03:00 every day (Europe/Berlin)" in listed
    paused = schedules("pause", "nightly", "none")
    assert (paused.code, paused.stdout) == (1, "")
    assert "paused: nightly" in paused.stderr
    assert 'error: There is no schedule "none" (namespace "default"' in paused.stderr
    assert (
        'error: There is no schedule "none" (namespace "default"'
        in schedules("trigger", "none").stderr
    )
    run_id = schedules("trigger", "nightly").stdout.strip()
    filled = schedules("backfill", "nightly", "--since", "3d")
    assert (filled.code, len(filled.stdout.split())) == (0, 3)
    assert "runs started: 3" in filled.stderr
    shown = schedules("show", "nightly").stdout
    assert "paused, " in shown
    assert 'input:     {"a":1}' in shown
    assert f"triggered   {run_id}" in shown
    assert "resumed: nightly" in schedules("resume", "nightly").stderr
    assert "deleted: nightly" in schedules("delete", "nightly").stderr
    assert "there is no schedule (" in schedules("list").stderr


def test_with_json_there_is_one_document(schedules: Command) -> None:
    made = json.loads(
        schedules("create", "p", "--workflow", "w", "--every", "15m", "--json").stdout
    )
    [schedule] = json.loads(schedules("list", "--json").stdout)["schedules"]
    assert made["schedules"][0]["created_at"] == schedule["created_at"]
    assert (schedule["every"], schedule["state"], schedule["takes_tick"]) == (900, "active", True)
    run = json.loads(schedules("trigger", "p", "--json").stdout)["id"]
    shown = json.loads(schedules("show", "p", "--json").stdout)
    assert [each["run_id"] for each in shown["ticks"]] == [run]
    assert json.loads(schedules("pause", "p", "x", "--json").stdout) == {
        "paused": ["p"],
        "refused": {"x": 'There is no schedule "x"'},
    }
    since, until = "2025-05-14T06:00:00Z", "2025-05-14T07:00:00Z"
    started = schedules("backfill", "p", "--since", since, "--until", until, "--json")
    assert len(json.loads(started.stdout)["ids"]) == 4


def test_a_long_list_is_printed_in_parts(
    schedules: Command, database_url: str, schema: str
) -> None:
    with closing(OpenWorkflow(database_url, schema=schema)) as ow:
        for name in ("a b", "c", "d"):
            ow.schedules.create(name, "w", every="15m")
    first = schedules("list", "--limit", "1")
    assert "a b" in first.stdout
    assert "there are more: --after 'a b'" in first.stderr
    second = json.loads(schedules("list", "--after", "a b", "--limit", "1", "--json").stdout)
    assert ([each["name"] for each in second["schedules"]], second["next_cursor"]) == (["c"], "c")
    last = json.loads(schedules("list", "--after", "c", "--json").stdout)
    assert ([each["name"] for each in last["schedules"]], last["next_cursor"]) == (["d"], None)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("create", "x", "--cron", "@daily"), "--workflow"),
        (("create", "x", "--workflow", "w"), "pass either a cron text"),
        (("create", "x", "--workflow", "w", "--cron", "61 * * * *"), "'61 * * * *': bad minute"),
        (
            ("create", "x", "--workflow", "w", "--cron", "@daily", "--timezone", "Europe/Bonn"),
            "no time zone 'Europe/Bonn'",
        ),
        (("create", "x", "--workflow", "w", "--every", "soon"), "--every"),
        (("create", "x", "--workflow", "w", "--every", "1h", "--start", "today"), "--start"),
        (("create", "x", "--workflow", "w", "--every", "1h", "--overlap", "no"), "--overlap"),
        (("create", "x", "--workflow", "w", "--every", "1h", "--input", "{"), "invalid JSON"),
        (("backfill", "x"), "--since"),
        (("backfill", "x", "--since", "tomorrow"), "--since"),
        (("pause",), "NAME"),
        (("list", "--limit", "0"), "--limit"),
        (("later",), "invalid choice: 'later'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage_is_one_error(schedules: Command, argv: tuple[str, ...], why: str) -> None:
    result = schedules(*argv)
    assert result.is_one_error(2), result.stderr
    assert why in result.stderr


def test_a_schedule_that_does_not_exist_is_one_error(schedules: Command) -> None:
    for argv in (("show", "x"), ("trigger", "x"), ("backfill", "x", "--since", "1d")):
        assert schedules(*argv).is_one_error(1)


def test_without_a_database_the_exit_code_is_4(owsuper: Run) -> None:
    url = "postgresql://localhost:1/none"
    assert owsuper("schedules", "list", "--database-url", url).is_one_error(4)
