"""``owsuper ps``: the workers on all hosts, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.cli.formatting import Layout
from owsuper.cli.worker_table import worker_table
from owsuper.db import connect
from owsuper.db.presence import PresenceQueries
from tests.cli.running import Run
from tests.db.announcements import announced, child, executing
from tests.db.rows import perform

RUN = "0198c0de-1a2b-7c3d-8e4f-5a6b7c8d9e0f"


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def worker(session: psycopg.Connection, schema: str) -> None:
    """A worker with two processes, of which one executes two runs and holds another."""
    queries = PresenceQueries(schema, "default", "shop.example.com:17:abc")
    perform(session, queries.register(30, "shop", 17))
    runs: list[dict[str, Any]] = [
        executing(RUN, "order", version="2", step="charge"),
        executing("second", "mail", step=None),
    ]
    children = [child(1), child(2, *runs, held=3)]
    workflows = [("order", "2"), ("mail", None)]
    perform(session, announced(queries, workflows=workflows, children=children, slots=4))


def table(ow: OpenWorkflow, width: int | None) -> list[str]:
    """The table as it is half a minute after the announcement."""
    workers = ow.list_workers()
    at = max(each.announced_at or each.read_at for each in workers) + timedelta(seconds=30)
    return worker_table([replace(each, read_at=at) for each in workers], Layout(width))


@pytest.mark.usefixtures("worker")
def test_each_process_has_a_line_with_what_it_does(ow: OpenWorkflow) -> None:
    assert table(ow, None) == [
        "WORKER            PID  STATE    BUSY   RSS  FOR  DOING",
        "shop.example.com   17  serving   3/4   40M  30s  serves order (version 2), mail",
        "  child 1         101  ready          100M",
        f"  child 2         102  ready       3  100M  40s  order (version 2) charge {RUN}",
        "                                            40s  mail second",
        "                                                 ... and 1 more runs",
    ]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_table_fits_a_terminal_and_keeps_who_does_what(ow: OpenWorkflow, width: int) -> None:
    lines = table(ow, width)
    assert max(map(len, lines)) <= width
    assert any("order (version" in line for line in lines)


@pytest.mark.usefixtures("worker")
def test_programs_get_all_of_it_as_data(owsuper: Run, env: dict[str, str]) -> None:
    result = owsuper("ps", "--json", env=env)
    assert (result.code, result.stderr) == (0, "")
    [worker] = json.loads(result.stdout)["workers"]
    assert (worker["state"], worker["slots"], worker["free"]) == ("serving", 4, 1)
    assert worker["workflows"] == [["order", "2"], ["mail", None]]
    assert worker["processes"][1]["runs"][0]["run_id"] == RUN


@pytest.mark.usefixtures("worker")
def test_it_prints_the_table(owsuper: Run, env: dict[str, str]) -> None:
    result = owsuper("ps", env=env)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith("WORKER ")
    assert f"order (version 2) charge {RUN}" in result.stdout


def test_without_a_worker_it_says_where_it_has_looked(
    owsuper: Run, env: dict[str, str], schema: str
) -> None:
    result = owsuper("ps", env=env)
    assert (result.code, result.stdout) == (0, "")
    message = f'owsuper: no worker is connected (namespace "default", schema "{schema}")\n'
    assert result.stderr == message
