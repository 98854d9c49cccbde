"""What becomes of the limits that workers declare: stored, changed, left alone, removed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from owsuper.core.limits import Concurrency, Limit, Rate, check_limits, definition
from owsuper.db import connect
from owsuper.db.limits import LimitQueries
from tests.client.conftest import eventually

OLD, NEW = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
BETWEEN = "2026-01-01T12:00:00+00:00"


class Registry:
    """The limits of one schema, as workers store them."""

    def __init__(self, conn: psycopg.Connection[Any], schema: str) -> None:
        self._conn = conn
        self._schema = schema
        self._queries = LimitQueries(schema, "default")

    def register(
        self,
        limits: dict[str, Sequence[Limit]],
        loaded_at: str = OLD,
        served: Sequence[str] | None = None,
    ) -> dict[str, str]:
        """Register the limits of these workflows; what became of each."""
        named: dict[str, dict[str, Any]] = {}
        for workflow, its in limits.items():
            for each in check_limits(its, workflow):
                known = named.setdefault(str(each.name), {**definition(each), "workflows": []})
                known["workflows"].append(workflow)
        names = list(limits) if served is None else served
        statement, params = self._queries.register(list(named.values()), names, loaded_at)
        return dict(self._conn.execute(statement.query, params).fetchall())

    def amounts(self) -> dict[str, int]:
        return dict(self._rows("name, amount", "owsuper_limits"))

    def users(self) -> list[tuple[str, str]]:
        return sorted(self._rows("workflow_name, limit_name", "owsuper_limit_workflows"))

    def _rows(self, columns: str, table: str) -> list[tuple[Any, ...]]:
        return self._conn.execute(f'SELECT {columns} FROM "{self._schema}".{table}').fetchall()


@pytest.fixture
def registry(conn: psycopg.Connection[Any], schema: str) -> Registry:
    return Registry(conn, schema)


def test_limits_are_stored_once(registry: Registry) -> None:
    limits = {"w": [Concurrency(2, key="a.b"), Rate(5, per="1s")], "v": [Concurrency(1)]}
    names = {"w/concurrency/a.b", "w/rate", "v/concurrency"}
    assert registry.register(limits) == dict.fromkeys(names, "stored")
    assert registry.register(limits) == {}
    assert registry.amounts() == {"w/concurrency/a.b": 2, "w/rate": 5, "v/concurrency": 1}
    assert registry.users() == [
        ("v", "v/concurrency"),
        ("w", "w/concurrency/a.b"),
        ("w", "w/rate"),
    ]


def test_newer_code_wins_whoever_comes_last(registry: Registry) -> None:
    registry.register({"w": [Concurrency(2)]}, OLD)
    assert registry.register({"w": [Concurrency(3)]}, NEW) == {"w/concurrency": "changed"}
    assert registry.register({"w": [Concurrency(2)]}, OLD) == {"w/concurrency": "older"}
    assert registry.amounts() == {"w/concurrency": 3}


def test_what_the_code_has_no_more_is_removed_for_the_workflows_that_it_serves(
    registry: Registry,
) -> None:
    shared = Rate(5, per="1s", name="mail")
    registry.register({"w": [shared, Concurrency(1)], "v": [shared]})
    assert registry.register({"w": []}, NEW) == {"mail": "removed", "w/concurrency": "removed"}
    assert registry.amounts() == {"mail": 5}
    assert registry.users() == [("v", "mail")]
    assert registry.register({"v": []}, NEW) == {"mail": "removed"}
    assert registry.amounts() == {}


def test_older_code_removes_nothing_of_newer_code_that_registers_at_the_same_time(
    registry: Registry, database_url: str, schema: str
) -> None:
    registry.register({"w": [Concurrency(2)]}, OLD)
    with (
        connect.connect(database_url, application_name="owsuper test") as newer,
        connect.connect(database_url, application_name="owsuper test") as older,
        ThreadPoolExecutor(1) as threads,
    ):
        [(pid,)] = older.execute(b"SELECT pg_backend_pid()").fetchall()
        with newer.transaction():
            Registry(newer, schema).register({"w": [Concurrency(2)]}, NEW)
            answer = threads.submit(Registry(older, schema).register, {"w": []}, BETWEEN)
            waits = b"SELECT FROM pg_locks WHERE pid = $1 AND NOT granted"
            eventually(lambda: bool(newer.execute(waits, (pid,)).fetchall()))
        assert answer.result(timeout=60) == {}
    assert registry.users() == [("w", "w/concurrency")]
    assert registry.amounts() == {"w/concurrency": 2}


def test_older_code_removes_nothing_of_newer_code(registry: Registry) -> None:
    registry.register({"w": [Concurrency(2)]}, NEW)
    assert registry.register({"w": []}, OLD) == {}
    assert registry.users() == [("w", "w/concurrency")]


def test_limits_of_workflows_that_are_not_served_are_left_out(registry: Registry) -> None:
    shared = Rate(5, per="1s", name="mail")
    registry.register({"w": [shared], "v": [shared, Concurrency(1)]}, served=["w"])
    assert registry.users() == [("w", "mail")]


def test_applications_that_share_a_limit_have_it_whichever_is_the_newer(registry: Registry) -> None:
    registry.register({"w": [Rate(5, per="1s", name="mail")]}, NEW)
    assert registry.register({"v": [Rate(5, per="1s", name="mail")]}, OLD) == {}
    assert registry.register({"u": [Rate(6, per="1s", name="mail")]}, OLD) == {"mail": "older"}
    assert registry.users() == [("u", "mail"), ("v", "mail"), ("w", "mail")]
    assert registry.amounts() == {"mail": 5}


def test_an_amount_that_was_set_at_run_time_outlives_a_deploy(
    registry: Registry, conn: psycopg.Connection[Any], schema: str
) -> None:
    registry.register({"w": [Concurrency(2)]}, OLD)
    conn.execute(f'UPDATE "{schema}".owsuper_limits SET set_amount = 9')
    registry.register({"w": [Concurrency(3)]}, NEW)
    assert conn.execute(f'SELECT set_amount FROM "{schema}".owsuper_limits').fetchall() == [(9,)]
