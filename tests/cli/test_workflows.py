"""``owsuper workflows``: list, pause and resume."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.cli.running import Run
from tests.db.rows import Tables


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.mark.slow
@pytest.mark.once
def test_workflows_are_paused_listed_and_resumed(
    owsuper: Run, env: dict[str, str], tables: Tables
) -> None:
    tables.pending(workflow_name="report")
    tables.pending(workflow_name="mail")
    paused = owsuper("workflows", "pause", "report", "mail", "--reason", "no paper", env=env)
    assert (paused.code, paused.stdout) == (0, "")
    assert paused.stderr == "owsuper: paused: report\nowsuper: paused: mail\n"
    listed = owsuper("workflows", "list", env=env).stdout.splitlines()
    assert listed[0].split("  ")[0] == "WORKFLOW"
    assert [line.split()[0] for line in listed[1:]] == ["mail", "report"]
    assert listed[2].endswith(": no paper")
    ps = owsuper("ps", env=env).stderr
    assert "paused: report since " in ps
    resumed = owsuper("workflows", "resume", "report", "report", "mail", "--json", env=env)
    assert [each["workflow_name"] for each in json.loads(resumed.stdout)["resumed"]] == [
        "report",
        "mail",
    ]
    again = owsuper("workflows", "resume", "mail", env=env)
    assert again.stderr == "owsuper: was not paused: mail\n"
    assert "no connected worker serves a workflow" in owsuper("workflows", "list", env=env).stderr


@pytest.mark.slow
@pytest.mark.once
def test_json_has_the_pauses(owsuper: Run, env: dict[str, str], tables: Tables) -> None:
    tables.pending(workflow_name="report")
    [pause] = json.loads(
        owsuper("workflows", "pause", "report", "--json", "--reason", "x", env=env).stdout
    )["paused"]
    assert pause.keys() == {"workflow_name", "since", "by", "reason"}
    [listed] = json.loads(owsuper("workflows", "list", "--json", env=env).stdout)["workflows"]
    assert listed == {"name": "report", "versions": [], "workers": [], "pause": pause}
    assert json.loads(owsuper("ps", "--json", env=env).stdout)["paused"] == [pause]


def test_a_misspelled_name_is_exit_code_2(
    owsuper: Run, env: dict[str, str], tables: Tables
) -> None:
    tables.pending(workflow_name="report")
    result = owsuper("workflows", "pause", "reprot", env=env)
    assert result.is_one_error(2), result
    assert "did you mean report?" in result.stderr


def test_a_command_of_its_own_must_follow_at_once(owsuper: Run) -> None:
    result = owsuper("workflows", "--json", "list")
    assert result.code == 2
    assert "pause" in owsuper("workflows", "help").stdout
