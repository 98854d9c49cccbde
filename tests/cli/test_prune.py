"""``owsuper prune``: counts, asks, deletes, and says what it did."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.cli.running import Result, Run
from tests.fixtures.processes import ROOT, owsuper_command
from tests.retention.conftest import Ended

Command = Callable[..., Result]


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Ended:
    return Ended(conn, schema)


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


@pytest.fixture
def prune(owsuper: Run, env: dict[str, str]) -> Command:
    """``owsuper prune`` on the schema of the test."""
    return lambda *argv: owsuper("prune", *argv, env=env)


def test_a_dry_run_counts_by_workflow_and_status(prune: Command, tables: Ended) -> None:
    runs = {tables.ended(31), tables.ended(31), tables.ended(31, status="failed")}
    result = prune("--older-than", "30d", "--dry-run")
    assert result.code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["workflow", "status", "runs"],
        ["w", "completed", "2"],
        ["w", "failed", "1"],
    ]
    assert "would delete 3 runs" in result.stderr
    assert tables.ids() == runs


def test_runs_are_archived_and_deleted_and_programs_get_json(
    prune: Command, tables: Ended, tmp_path: Path
) -> None:
    gone = tables.ended(31, workflow_name="nightly")
    kept = {tables.ended(31), tables.ended(29, workflow_name="nightly")}
    result = prune(
        *("--older-than", "30d", "--workflow", "nightly", "--status", "completed"),
        *("--archive", str(tmp_path / "archive"), "--yes", "--json"),
    )
    assert json.loads(result.stdout) == {
        "dry_run": False,
        "runs": 1,
        "counts": [{"workflow": "nightly", "status": "completed", "runs": 1}],
    }
    assert tables.ids() == kept
    [path] = (tmp_path / "archive").iterdir()
    assert json.loads(path.read_text())["run"]["id"] == gone


def test_without_room_for_copies_nothing_is_deleted(
    prune: Command, tables: Ended, tmp_path: Path
) -> None:
    run = tables.ended(31)
    today = datetime.now(UTC)
    for day in (today, today + timedelta(days=1)):
        (tmp_path / f"runs-{day:%Y-%m-%d}.jsonl").mkdir()
    result = prune("--older-than", "30d", "--archive", str(tmp_path), "--yes")
    assert result.code == 1
    assert "error: no more runs are deleted: archive: " in result.stderr
    assert "Traceback" not in result.stderr
    assert tables.ids() == {run}


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1)])
def test_on_a_terminal_it_asks(
    tables: Ended, env: dict[str, str], answer: bytes, left: int
) -> None:
    tables.ended(31)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*owsuper_command(), "prune", "--older-than", "30d"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | env | {"PYTHONPATH": str(ROOT)},
    ) as program:
        os.close(theirs)
        os.write(ours, answer)
        _, messages = program.communicate(timeout=60)
    os.close(ours)
    assert program.returncode == 0
    assert b"Delete 1 run " in messages
    assert len(tables.ids()) == left


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--yes"], "--older-than"),
        (["--older-than", "30d"], "pass --yes"),
        (["--older-than", "30", "--yes"], "older_than"),
        (["--older-than", "30d", "--status", "running", "--yes"], "completed, failed, canceled"),
    ],
)
def test_a_mistake_is_one_error_and_deletes_nothing(
    prune: Command, tables: Ended, argv: list[str], message: str
) -> None:
    run = tables.ended(31)
    result = prune(*argv)
    assert result.is_one_error(2)
    assert message in result.stderr
    assert tables.ids() == {run}
