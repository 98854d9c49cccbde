"""Several databases behind one object, sync and async. Here they are schemas of one server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper import OpenWorkflow, Shards, Step
from owsuper.errors import ConfigurationError, DatabaseUnreachable, RunNotFound
from tests.cli.running import port
from tests.client.sync_and_async import Call, sync_and_async
from tests.fixtures.schemas import Schemas

definitions = OpenWorkflow()


@definitions.workflow
def order(step: Step, input: dict[str, str]) -> int: ...


@pytest.fixture
def two(database_url: str, schemas: Schemas) -> Iterator[Shards]:
    with schemas.one() as east, schemas.one() as west:
        shards = Shards({"east": database_url, "west": database_url}, by=lambda at: at["region"])
        for name, schema in (("east", east), ("west", west)):
            shards._databases[name] = OpenWorkflow(database_url, schema=schema)
        yield shards
        shards.close()


def _ids(database: OpenWorkflow) -> list[str]:
    return [run.id for run in database.list_runs().items]


@sync_and_async
def test_a_run_is_started_in_the_database_of_its_input(two: Shards, call: Call) -> None:
    east = call(two, "run_workflow", order, {"region": "east"})
    west = call(two, "run_workflow", "order", {"region": "west"}, idempotency_key="k")
    assert (_ids(two["east"]), _ids(two["west"])) == ([east.id], [west.id])
    assert call(two, "run_workflow", "order", {"region": "west"}, idempotency_key="k").id == west.id
    assert list(two) == ["east", "west"]
    assert two.of({"region": "west"}) is two["west"]


@sync_and_async
def test_a_run_is_found_wherever_it_is(two: Shards, call: Call) -> None:
    run = two.run_workflow(order, {"region": "west"}, idempotency_key="k")
    assert call(two, "find_run", run.id).details().id == run.id
    assert call(two, "find_run", order, run_id=run.id).details().id == run.id
    assert call(two, "find_run", order, key="k").id == run.id
    with pytest.raises(RunNotFound):
        call(two, "find_run", order, key="l")
    with pytest.raises(RunNotFound):
        call(two, "find_run", "no such run")


@sync_and_async
def test_a_run_that_may_be_in_a_database_that_is_away_is_not_said_to_be_missing(
    database_url: str, schema: str, call: Call
) -> None:
    with port(listening=False) as nobody:
        urls = {"away": f"postgresql://127.0.0.1:{nobody}/x", "here": database_url}
        shards = Shards(urls, by=lambda _: "here", schema=schema, call_timeout="30s")
        run = shards.run_workflow("order", 1)
        assert call(shards, "find_run", run.id).id == run.id
        with pytest.raises(DatabaseUnreachable):
            call(shards, "find_run", "another")
        shards.close()


@sync_and_async
@pytest.mark.parametrize("name", ["north", None, ["east"]])
def test_a_name_of_no_database_is_refused_before_anything_is_stored(
    two: Shards, call: Call, name: Any
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"by: .* is none of the databases, which are east"
    ):
        call(two, "run_workflow", order, {"region": name})
    assert _ids(two["east"]) + _ids(two["west"]) == []


def test_the_tables_are_made_if_that_is_permitted(
    database_url: str, conn: psycopg.Connection
) -> None:
    schema = f"made_{uuid4().hex}"
    shards = Shards({"only": database_url}, by=lambda _: "only", schema=schema, migrate=True)
    try:
        run = shards.run_workflow("order", 1)
        assert shards.find_run(run.id).id == run.id
    finally:
        shards.close()
        conn.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


def test_there_must_be_a_database() -> None:
    with pytest.raises(ConfigurationError, match="one database at least"):
        Shards({}, by=str)
