"""``owsuper doctor``: findings for people and for programs, and the exit code."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.cli.running import Run


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


def test_each_finding_has_a_line_and_below_it_how_to_mend_it(
    owsuper: Run, env: dict[str, str], conn: psycopg.Connection, schema: str
) -> None:
    conn.execute(f'ALTER TABLE "{schema}".workflow_runs DISABLE TRIGGER owsuper_result'.encode())
    result = owsuper("doctor", "--processes", "1", env=env)
    lines = result.stdout.splitlines()
    assert "ok       migrations     the tables in schema" in result.stdout
    [place] = [number for number, line in enumerate(lines) if line.startswith("problem")]
    assert lines[place].endswith("trigger owsuper_result of workflow_runs is disabled")
    mend = f'-> ALTER TABLE "{schema}".workflow_runs ENABLE TRIGGER owsuper_result'
    assert lines[place + 1].strip() == mend
    assert "1 problem" in result.stderr
    assert result.code == 1


def test_without_a_problem_the_exit_code_is_0(owsuper: Run, env: dict[str, str]) -> None:
    result = owsuper("doctor", "--processes", "1", "--json", env=env)
    findings = json.loads(result.stdout)["findings"]
    assert {each["level"] for each in findings} <= {"ok", "note", "warning"}
    assert (result.code, result.stderr) == (0, "")


def test_without_a_database_the_exit_code_is_4(owsuper: Run) -> None:
    result = owsuper("doctor", "--database-url", "postgresql://127.0.0.1:1/x")
    assert result.is_one_error(4), result
