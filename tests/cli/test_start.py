"""``owsuper start``: what is stored, what is printed, and what cannot be started."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.cli.running import Result, Run, port, write_module
from tests.client.conftest import eventually
from tests.db.rows import Tables, from_now
from tests.fixtures.processes import Program, Spawn, owsuper_command

Command = Callable[..., Result]

APP = """
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()

@ow.workflow
def add(step: Step, input: list[int]) -> dict[str, int]:
    return {"sum": sum(input)}

@ow.workflow
def fail(step: Step) -> None:
    raise ValueError("no luck today")
"""


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


@pytest.fixture
def start(owsuper: Run, env: dict[str, str]) -> Command:
    """``owsuper start`` on the schema of the test."""
    return lambda *argv: owsuper("start", *argv, env=env)


@pytest.fixture
def worker(spawn_owsuper: Spawn, env: dict[str, str], tmp_path: Path) -> Program:
    write_module(tmp_path, "app", APP)
    worker = spawn_owsuper("--module", "app.py", "--processes", "1", env=env, cwd=tmp_path)
    worker.stderr.wait_for(": ready: ")  # those who wait for longer are told so
    return worker


@pytest.mark.slow
@pytest.mark.once
def test_a_worker_shows_which_workflows_it_serves_to_those_who_wait_in_vain(
    spawn_owsuper: Spawn, worker: Program, env: dict[str, str], tables: Tables
) -> None:
    eventually(lambda: bool(tables.rows("owsuper_supervisors", "workflows IS NOT NULL")))
    run = tables.pending(workflow_name="nope", available_at=from_now(-60))
    waiting = spawn_owsuper("runs", "wait", run, env=env)
    waiting.stderr.wait_for(rf" Workers of this namespace: \S+:{worker.pid} serves add, fail\. ")


# --- what is stored --------------------------------------------------------------------------


def test_the_id_of_the_run_is_all_that_is_printed(start: Command, tables: Tables) -> None:
    result = start("greet")
    assert (result.code, result.stderr) == (0, "")
    row = tables.fetch(result.stdout.strip())
    assert (row["workflow_name"], row["version"], row["status"]) == ("greet", None, "pending")
    assert row["input"] is row["idempotency_key"] is None
    assert row["available_at"] == row["updated_at"]


def test_all_options_are_stored(start: Command, tables: Tables) -> None:
    at = "2999-01-01T12:00:00+01:00"
    result = start("greet", "--input", '{"é": [1, null]}', "--version", "2", "--key", "k",
                   "--at", at, "--deadline", "2999-01-02T00:00Z")  # fmt: skip
    row = tables.fetch(result.stdout.strip())
    assert (row["workflow_name"], row["version"], row["idempotency_key"]) == ("greet", "2", "k")
    assert row["input"] == {"é": [1, None]}
    assert row["available_at"] == datetime(2999, 1, 1, 11, tzinfo=UTC)
    assert row["deadline_at"] == datetime(2999, 1, 2, tzinfo=UTC)


def test_a_priority_is_stored_and_shown(start: Command, owsuper: Run, env: dict[str, str]) -> None:
    run_id = start("greet", "--priority", "50").stdout.strip()
    shown = owsuper("runs", "show", run_id, env=env)
    assert re.search(r"^priority +50$", shown.stdout, re.MULTILINE)
    document = json.loads(owsuper("runs", "show", run_id, "--json", env=env).stdout)
    assert document["run"]["priority"] == 50


@pytest.mark.parametrize("at", ["90", "90s", "1.5m"])
def test_a_run_may_be_due_after_a_duration(start: Command, tables: Tables, at: str) -> None:
    row = tables.fetch(start("greet", "--at", at).stdout.strip())
    ahead = row["available_at"] - row["updated_at"]
    assert timedelta(seconds=80) < ahead < timedelta(seconds=100)


def test_one_key_starts_one_run(start: Command, tables: Tables) -> None:
    assert start("greet", "--key", "k").stdout == start("greet", "--key", "k").stdout
    assert tables.count("workflow_runs") == 1


def test_the_namespace_is_that_of_the_settings(
    owsuper: Run, env: dict[str, str], tables: Tables
) -> None:
    started = owsuper("start", "greet", "--namespace", "north", env=env).stdout.strip()
    assert tables.fetch(started)["namespace_id"] == "north"
    elsewhere = {**env, "OWSUPER_NAMESPACE": "south"}
    started = owsuper("start", "greet", env=elsewhere).stdout.strip()
    assert tables.fetch(started)["namespace_id"] == "south"


def test_the_input_may_come_from_standard_input(
    spawn: Spawn, env: dict[str, str], tables: Tables, tmp_path: Path
) -> None:
    (tmp_path / "input.json").write_text('{"n": 1}')
    command = f"{shlex.join(owsuper_command())} start greet --input - < input.json"
    program = spawn("sh", "-c", command, env=env, cwd=tmp_path)
    assert program.wait() == 0, program.stderr.text
    program.end()
    assert tables.fetch(program.stdout.text.strip())["input"] == {"n": 1}


def test_json_is_for_programs(start: Command, tables: Tables) -> None:
    document = json.loads(start("greet", "--json").stdout)
    assert document == {"id": tables.rows("workflow_runs")[0]["id"]}


def test_an_id_that_cannot_be_printed_goes_to_standard_error(
    spawn: Spawn, env: dict[str, str], tables: Tables, tmp_path: Path
) -> None:
    command = f"{shlex.join(owsuper_command())} start greet >/dev/full"
    program = spawn("sh", "-c", command, env=env, cwd=tmp_path)
    assert program.wait() == 1
    program.end()
    [row] = tables.rows("workflow_runs")
    assert program.stderr.text.splitlines() == [
        f"owsuper: run {row['id']} is started",
        "owsuper: error: cannot write to standard output: No space left on device",
    ]


# --- waiting ---------------------------------------------------------------------------------


def test_wait_prints_the_result(start: Command, worker: Program, tables: Tables) -> None:
    result = start("add", "--input", "[1, 2]", "--wait", "--timeout", "60s")
    assert (result.code, result.stdout) == (0, '{"sum":3}\n')
    [row] = tables.rows("workflow_runs")
    where = f'(namespace "default", schema "{tables.schema}")'
    assert result.stderr == f"owsuper: waiting for run {row['id']} {where}\n"
    document = json.loads(start("add", "--input", "[4]", "--wait", "--json").stdout)
    assert document["result"] == {"sum": 4}
    assert tables.fetch(document["id"])["output"] == {"sum": 4}


def test_a_run_that_fails_is_one_error(start: Command, worker: Program) -> None:
    result = start("fail", "--wait")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[1:] == [
        "owsuper: error: Workflow fail failed: ValueError: no luck today"
    ]
    result = start("fail", "--wait", "--json")
    assert result.code == 1
    document = json.loads(result.stdout)
    assert (document["status"], document["error"]["name"]) == ("failed", "ValueError")


def test_a_run_that_does_not_end_in_time_is_an_error_and_goes_on(
    start: Command, tables: Tables
) -> None:
    result = start("greet", "--wait", "--timeout", "100ms")
    assert (result.code, result.stdout) == (1, "")
    assert "Timed out waiting for workflow run" in result.stderr
    assert "the run itself is not affected" in result.stderr
    assert tables.rows("workflow_runs")[0]["status"] == "pending"


def test_an_interrupted_wait_leaves_no_traceback(
    spawn_owsuper: Spawn, env: dict[str, str], tables: Tables, tmp_path: Path
) -> None:
    program = spawn_owsuper("start", "greet", "--wait", env=env, cwd=tmp_path)
    program.stderr.wait_for("waiting for run")
    program.signal(signal.SIGINT)
    assert program.wait() == 130
    program.end()
    assert program.stderr.text.count("\n") == 1
    assert tables.rows("workflow_runs")[0]["status"] == "pending"


# --- mistakes --------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[list[str], str]] = {
    "no name": ([], "the following arguments are required: NAME"),
    "an empty name": ([""], "Invalid workflow name '': it is empty"),
    "two names": (["a", "b"], "unexpected argument 'b'"),
    "no JSON": (["a", "--input", "{user_id: 7}"], "--input: invalid JSON: Expecting property n"),
    "empty JSON": (["a", "--input", ""], "--input: invalid JSON: Expecting value"),
    "unquoted text": (["a", "--input", "hello"], "put the JSON between single quotes, and "),
    "deep JSON": (["a", "--input", "[" * 100_000], "--input: invalid JSON"),
    "no number": (["a", "--input", "[NaN]"], "--input: Cannot store input[0]"),
    "a large number": (["a", "--input", "1" * 30], "--input: Cannot store input"),
    "U+0000": (["a", "--input", '"\\u0000"'], "--input: Cannot store input"),
    "no time": (["a", "--at", "soon"], "--at: must be a time such as 2026-03-01T12:00:00Z, or a"),
    "no deadline": (["a", "--deadline", "soon"], "--deadline: must be a time such as 2026-03-01T1"),
    "a time in no year": (
        ["a", "--at", "9999-12-31T23:00-03:00"],
        "available_at: 9999-12-31",
    ),
    "the past": (
        ["a", "--at", "-5m"],
        "--at: must be a time such as 2026-03-01T12:00:00Z, or a duration from now such as 5m, not",
    ),
    "a deadline in the past": (["a", "--deadline", "-5m"], "--deadline: must be a time such as"),
    "no time zone": (["a", "--at", "2999-01-01T12:00"], "write 2999-01-01T12:00:00Z for UTC"),
    "no duration": (["a", "--wait", "--timeout", "soon"], "--timeout: must be a duration from 0s"),
    "time-out of nothing": (["a", "--timeout", "3s"], "--timeout: add --wait; without it"),
    "a long key": (["a", "--key", "k" * 1001], "idempotency_key: the key has 1001 characters"),
    "an empty version": (["a", "--version", ""], "--version: it is empty; leave it out for"),
    "a version of other bytes": (["a", "--version", "\udcff"], r"b'\xff' is not UTF-8"),
    "a priority out of range": (
        ["a", "--priority", "101"],
        "--priority: must be a whole number from",
    ),
    "a worker's option": (["a", "--lease", "3"], "no such option: --lease"),
}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("argv", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_message_and_starts_nothing(
    argv: list[str], message: str, start: Command, tables: Tables
) -> None:
    result = start(*argv)
    assert result.is_one_error(2), result
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert tables.count("workflow_runs") == 0


def test_an_unreachable_database_is_exit_code_4(owsuper: Run) -> None:
    with port(listening=False) as closed:
        url = f"postgresql://app:s3cret@127.0.0.1:{closed}/app"
        result = owsuper("start", "greet", "--database-url", url)
    assert result.is_one_error(4), result
    assert "s3cret" not in result.stderr


def test_missing_tables_are_an_error_that_says_what_to_run(
    owsuper: Run, database_url: str, empty_schema: str
) -> None:
    result = owsuper("start", "greet", "--database-url", database_url, "--schema", empty_schema)
    assert result.is_one_error(1), result
    assert f"owsuper migrate --schema {empty_schema}" in result.stderr


def test_the_help_says_that_the_input_is_not_checked(owsuper: Run) -> None:
    said = owsuper("start", "--help").stdout
    assert "knows only the name of the workflow, not its code" in said


def test_a_key_lasts_as_long_as_is_asked_and_an_id_is_chosen(
    start: Command, tables: Tables
) -> None:
    old = tables.pending(idempotency_key="k", created_at=from_now(-9 * 24 * 3600))
    assert start("w", "--key", "k", "--key-lifetime", "10d").stdout.strip() == old
    refused = start("w", "--key", "k", "--key-lifetime", "1h")
    assert (refused.code, refused.stdout) == (2, "")
    assert "--key-lifetime" in refused.stderr
    assert start("w", "--id", "order-17").stdout == "order-17\n"
    assert "either an id or" in start("w", "--id", "a", "--key", "k").stderr
