"""``owsuper why``: why a run is not running, for people and for programs."""

from __future__ import annotations

import json
import re

import psycopg
import pytest

from tests.cli.running import Run
from tests.db.rows import Tables, from_now


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


def test_a_run_is_followed_to_the_child_run_that_it_waits_for(
    owsuper: Run, env: dict[str, str], tables: Tables
) -> None:
    parent = tables.parked(workflow_name="order", version="2")
    child = tables.child(parent, workflow_name="mail", worker_id=None, available_at=from_now(-90))
    result = owsuper("why", parent[:20], env=env)
    assert (result.code, result.stderr) == (0, "")
    run, waits, about, due = result.stdout.splitlines()
    assert run == f"run {parent} of order, version 2:"
    assert re.fullmatch(rf"  it waits for the child run {child} of 's' \(\d+s ago\)", waits)
    assert about == "    about that run:"
    begin = r"      it is due since [\d: -]+Z, but no worker with mail \(without a version\) is"
    assert re.match(begin, due)
    assert re.search(r", and no other worker either \(\dm \d+s ago\)$", due)


def test_a_chain_of_child_runs_and_one_that_is_deleted_are_followed_to_an_end(
    owsuper: Run, env: dict[str, str], tables: Tables, conn: psycopg.Connection, schema: str
) -> None:
    first = last = tables.parked(workflow_name="order")
    for _ in range(25):
        last = tables.child(last, worker_id=None, available_at=from_now(600))
    result = owsuper("why", first, env=env)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.count("about that run:") == 20
    alone = tables.parked(workflow_name="order")
    deleted = tables.child(alone, workflow_name="order")
    conn.execute(f'DELETE FROM "{schema}".workflow_runs WHERE id = $1'.encode(), [deleted])
    result = owsuper("why", alone, env=env)
    assert (result.code, result.stderr) == (0, "")
    assert "  it waits for a child run that does not exist (any more) of 's' (" in result.stdout


def test_programs_get_the_reasons_as_data(
    owsuper: Run, env: dict[str, str], tables: Tables
) -> None:
    run = tables.pending(available_at=from_now(3600))
    document = json.loads(owsuper("why", run, "--json", env=env).stdout)
    assert (document["id"], document["status"]) == (run, "pending")
    [reason] = document["reasons"]
    assert reason["kind"] == "not-due"
    assert reason["until"].endswith("Z")
    assert reason["workers"] == []


def test_a_run_that_does_not_exist_is_one_error(owsuper: Run, env: dict[str, str]) -> None:
    result = owsuper("why", "nope", env=env)
    assert result.is_one_error(1), result
    assert "Workflow run nope does not exist" in result.stderr
