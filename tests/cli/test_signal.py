"""``owsuper signal``: what is sent, what is printed, and what cannot be sent."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest

from tests.cli.running import Result, Run
from tests.db.rows import Tables

Command = Callable[..., Result]


@pytest.fixture
def signal(owsuper: Run, database_url: str, schema: str) -> Command:
    """``owsuper signal`` on the schema of the test."""
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    return lambda *argv: owsuper("signal", *argv, env=env)


@pytest.fixture
def waiting(conn: psycopg.Connection, schema: str) -> str:
    """A run that waits for the signal ``go``."""
    tables = Tables(conn, schema)
    run = tables.parked()
    context = {"kind": "signal-wait", "signal": "go", "timeoutAt": "2032-01-01T00:00:00.000Z"}
    tables.step(run, kind="signal-wait", context=context)
    return run


def sent(conn: psycopg.Connection, schema: str, table: str = "workflow_signals") -> list[object]:
    return [row[0] for row in conn.execute(f'SELECT data FROM "{schema}".{table}'.encode())]


def test_the_ids_of_the_reached_runs_are_printed(
    signal: Command, waiting: str, conn: psycopg.Connection, schema: str
) -> None:
    result = signal("go", "--data", '{"a": [1]}')
    assert (result.code, result.stdout, result.stderr) == (0, f"{waiting}\n", "")
    assert sent(conn, schema) == [{"a": [1]}]


def test_with_json_there_is_one_document(signal: Command, waiting: str) -> None:
    assert json.loads(signal("go", "--json").stdout) == {"run_ids": [waiting]}
    assert json.loads(signal("go", "--json").stdout) == {"run_ids": []}


def test_a_signal_that_no_run_waits_for_is_dropped_with_a_message(
    signal: Command, conn: psycopg.Connection, schema: str
) -> None:
    result = signal("go")
    assert (result.code, result.stdout) == (0, "")
    assert "no run waits for this signal; it is dropped" in result.stderr
    assert sent(conn, schema, "owsuper_signals") == []


def test_buffer_keeps_the_signal(signal: Command, conn: psycopg.Connection, schema: str) -> None:
    result = signal("go", "--data", "7", "--buffer", "--key", "once")
    assert "kept for the first run that waits" in result.stderr
    signal("go", "--data", "7", "--buffer", "--key", "once")
    assert sent(conn, schema, "owsuper_signals") == [7]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("go", "--data", "{"), "--data: invalid JSON"),
        (("go", "--data", str(2**70)), "--data: "),
        (("",), "Invalid signal name"),
        ((), "NAME"),
    ],
)
def test_data_that_cannot_be_sent_is_a_usage_error(
    signal: Command, argv: tuple[str, ...], message: str
) -> None:
    result = signal(*argv)
    assert result.code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
