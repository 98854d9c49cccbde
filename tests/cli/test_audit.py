"""``owsuper audit``: the entries of the audit table, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from owsuper.db import connect
from owsuper.db.audit import AuditQueries, Intent
from tests.cli.running import Result, Run

Command = Callable[..., Result]


@pytest.fixture
def audit(owsuper: Run, database_url: str, schema: str) -> Command:
    """``owsuper audit`` on the schema of the test."""
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    return lambda *argv: owsuper("audit", *argv, env=env)


@pytest.fixture
def entries(database_url: str, schema: str) -> None:
    """Two entries; the older one has no answer."""
    queries = AuditQueries(schema, "default")
    with connect.connect(database_url, application_name="owsuper test") as conn:
        for number, user in enumerate(["ada\x1b[31m", None]):
            target = {"run": f"run-{number}"}
            intent = Intent(
                id=str(number), user=user, address="10.0.0.7", action="cancel", target=target
            )
            queries.intend(intent).run(conn)
        queries.answer("1", done=1, refused=0, details=None).run(conn)


@pytest.mark.usefixtures("entries")
def test_the_newest_entries_are_printed_first(audit: Command) -> None:
    result = audit()
    heading, newest, oldest = result.stdout.splitlines()
    assert heading.split() == ["when", "who", "from", "action", "on", "answer"]
    assert "run-1" in newest
    assert newest.endswith("1 done, 0 refused")
    assert "ada" in oldest
    assert oldest.endswith("no answer")
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("entries")
def test_with_json_there_is_one_document_with_a_cursor(audit: Command) -> None:
    first = json.loads(audit("--json", "--limit", "1").stdout)
    assert [each["id"] for each in first["entries"]] == ["1"]
    then = json.loads(audit("--json", "--after", first["next"]).stdout)
    assert [(each["id"], each["answered_at"]) for each in then["entries"]] == [("0", None)]
    assert then["next"] is None


def test_without_entries_there_is_a_message(audit: Command) -> None:
    result = audit()
    assert (result.code, result.stdout) == (0, "")
    assert "no actions (namespace" in result.stderr


def test_what_is_no_cursor_is_a_usage_error(audit: Command) -> None:
    result = audit("--after", "yesterday")
    assert result.code == 2
    assert "'yesterday' is no cursor" in result.stderr
