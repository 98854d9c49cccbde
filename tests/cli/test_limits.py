"""``owsuper limits``: what is printed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.cli.running import Result, Run
from tests.db.limits import Limits
from tests.db.rows import Tables

Command = Callable[..., Result]


@pytest.fixture
def limits(conn: psycopg.Connection[Any], schema: str) -> Limits:
    return Limits(Tables(conn, schema))


@pytest.fixture
def command(owsuper: Run, database_url: str, schema: str) -> Command:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    return lambda *argv: owsuper("limits", *argv, env=env)


def test_limits_are_listed_and_shown(command: Command, limits: Limits) -> None:
    assert "no limits (namespace" in command("list").stderr
    limits.declare("places", 1, path=["t"])
    limits.rate(5, 60.0, name="mail", burst=3)
    for tenant in ("a", "a", "b"):
        limits.tables.pending(workflow_name="w", input={"t": tenant})
    limits.claim(10)
    lines = command("list").stdout.splitlines()
    assert lines[0].split() == ["limit", "amount", "held", "waiting", "workflows"]
    assert lines[1].startswith("mail    5 per 1m 0s, bursts of 3")
    assert lines[2].startswith("places  1 at once for each key")
    shown = command("show", "places").stdout
    assert "\nkey  held  waiting  since" in shown
    document = json.loads(command("show", "places", "--json").stdout)
    assert [each["key"] for each in document["keys"]] == ["a", "b"]
    assert [each["name"] for each in json.loads(command("list", "--json").stdout)["limits"]] == [
        "mail",
        "places",
    ]


def test_an_amount_is_set_and_reset(command: Command, limits: Limits) -> None:
    limits.declare("places", 2)
    assert "amount     7 at once (the code says 2)" in command("set", "places", "7").stdout
    assert json.loads(command("show", "places", "--json").stdout)["amount"] == 7
    assert "amount     2 at once\n" in command("reset", "places").stdout


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["set", "place", "7"], 1, "'place'. Did you mean 'places'? (namespace \"default\""),
        (["show", "nothing"], 1, "There is 'places', for example"),
        (["set", "places", "0"], 2, "AMOUNT: must be a whole number from 1 to"),
        (["set", "places", "many"], 2, "must be a whole number from 1 to"),
        (["set", "places"], 2, "the following arguments are required: AMOUNT"),
        (["show"], 2, "the following arguments are required: NAME"),
    ],
)
def test_a_mistake_is_one_message(
    command: Command, limits: Limits, argv: list[str], code: int, message: str
) -> None:
    limits.declare("places", 2)
    result = command(*argv)
    assert result.is_one_error(code), result
    assert message in result.stderr
