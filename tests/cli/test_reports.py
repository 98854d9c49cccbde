"""``owsuper runs logs``, and the progress of a run in ``runs show`` and while waiting."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from owsuper.cli import progress
from owsuper.client.reports import RunProgress
from owsuper.db.reports import NewLine, NewProgress, ReportStore
from tests.cli.running import Result, Run
from tests.db.rows import Tables
from tests.fixtures.processes import Spawn, owsuper_command

Command = Callable[..., Result]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def store(tables: Tables) -> ReportStore:
    return ReportStore(tables.schema, "default")


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


@pytest.fixture
def runs(owsuper: Run, env: dict[str, str]) -> Command:
    return lambda *argv: owsuper("runs", *argv, env=env)


def line(run: str, message: str, level: int = 20, **changes: object) -> NewLine:
    values: dict[str, Any] = {
        "run": run, "logged_at": NOON.timestamp() + 0.25, "level": level, "logger": "shop",
        "message": message, "exception": None, "step": None, "attempt": None, "host": "host",
        "pid": 7, "fields": None,
    }  # fmt: skip
    return NewLine(**(values | changes))


def test_lines_are_shown_as_the_worker_wrote_them(
    runs: Command, tables: Tables, store: ReportStore
) -> None:
    run = tables.run()
    store.store_lines(
        tables.conn,
        [
            line(run, "begin"),
            line(run, "re\x1bserving", 30, step="s", attempt=2, fields={"id": "0 7", "n": 0.25}),
            line(run, "failed", 40, exception="Traceback\n  oh\nLookupError: no"),
        ],
    )
    result = runs("logs", run[:13])
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "2026-01-02T12:00:00.250Z INFO 7 shop: begin",
        r'2026-01-02T12:00:00.250Z WARNING 7 shop: re\x1bserving step=s attempt=2 n=0.250 id="0 7"',
        "2026-01-02T12:00:00.250Z ERROR 7 shop: failed",
        "Traceback",
        "  oh",
        "LookupError: no",
    ]
    filtered = runs("logs", run, "--level", "error", "--json")
    document = json.loads(filtered.stdout)
    assert (document["level"], document["message"]) == ("error", "failed")
    assert document["logged_at"] == "2026-01-02T12:00:00.250000Z"


def test_a_run_without_lines_says_how_to_store_them(runs: Command, tables: Tables) -> None:
    result = runs("logs", tables.run())
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr == (
        "owsuper: no lines are stored of this run. Workers store them with --keep-logs; a process"
        " that is killed loses those of its last second\n"
    )


def test_lines_of_a_lower_level_are_not_said_to_be_missing(
    runs: Command, tables: Tables, store: ReportStore
) -> None:
    run = tables.run()
    store.store_lines(tables.conn, [line(run, "begin")])
    result = runs("logs", run, "--level", "error")
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr == "owsuper: no lines from level error up are stored of this run\n"


def test_mistakes_are_one_error(runs: Command) -> None:
    assert runs("logs", "nothing").is_one_error(1)
    result = runs("logs", "a", "--level", "loud")
    assert result.is_one_error(2)
    assert "invalid choice: 'loud'" in result.stderr


def test_following_ends_with_the_run(
    spawn_owsuper: Spawn, env: dict[str, str], tables: Tables, store: ReportStore, tmp_path: Path
) -> None:
    run = tables.run()
    store.store_lines(tables.conn, [line(run, "first")])
    program = spawn_owsuper("runs", "logs", run, "--follow", env=env, cwd=tmp_path)
    program.stdout.wait_for("first$")
    store.store_lines(tables.conn, [line(run, "second")])
    program.stdout.wait_for("second$")
    tables.update("workflow_runs", run, status="completed")
    store.store_lines(tables.conn, [line(run, "late")])
    assert program.wait() == 0
    program.end()
    assert [each.split()[-1] for each in program.stdout.text.splitlines()] == [
        "first",
        "second",
        "late",
    ]


def test_show_says_how_far_a_run_is(runs: Command, tables: Tables, store: ReportStore) -> None:
    run = tables.run()
    assert "progress" not in runs("show", run).stdout
    assert json.loads(runs("show", run, "--json").stdout)["progress"] is None
    store.store_progress(tables.conn, [NewProgress(run, 1500, 6000, "copying", "copy")])
    shown = runs("show", run).stdout
    assert "progress      1,500 of 6,000 (25%), step 'copy': copying, " in shown
    document = json.loads(runs("show", run, "--json").stdout)["progress"]
    assert (document["done"], document["total"], document["message"]) == (1500, 6000, "copying")


def made(done: float, total: float | None, message: str | None = None) -> RunProgress:
    return RunProgress(done=done, total=total, message=message, step=None, updated_at=NOON)


@pytest.mark.parametrize(
    ("of", "shown"),
    [
        (made(0, 10), "[........................] 0 of 10 (0%)"),
        (made(5, 10, "half"), "[############............] 5 of 10 (50%): half"),
        (made(20, 10), "[########################] 20 of 10 (100%)"),
        (made(7, None, "files"), "7: files"),
        (made(1_234_567, None, ""), "1,234,567"),
        (made(1, 2, "x\x1b\n" * 100), "[############............] 1 of 2 (50%): x\\x1b..."),
    ],
)
def test_a_bar_fits_its_line(of: RunProgress, shown: str) -> None:
    assert progress.bar(of, 50) == shown


def test_who_waits_at_a_terminal_sees_a_bar(
    spawn: Spawn, env: dict[str, str], tables: Tables, store: ReportStore, tmp_path: Path
) -> None:
    run = tables.run()
    store.store_progress(tables.conn, [NewProgress(run, 1, 4, "first", None)])
    ours, theirs = pty.openpty()
    command = f'exec "$@" 2>{os.ttyname(theirs)}'
    wait = ("sh", "-c", command, "sh", *owsuper_command(), "runs", "wait", run)
    program = spawn(*wait, env=env | {"TERM": "xterm", "COLUMNS": "80"}, cwd=tmp_path)
    text = ""
    while "[######..................] 1 of 4 (25%): first" not in text:
        text += os.read(ours, 4096).decode()
    tables.update("workflow_runs", run, status="completed", output="7", worker_id=None)
    assert program.wait() == 0
    program.end()
    assert program.stdout.text == "7\n"
    while not text.endswith("\r\x1b[K"):
        text += os.read(ours, 4096).decode()
    os.close(ours)
    os.close(theirs)
