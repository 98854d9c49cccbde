"""step.transaction, when nobody knows whether its transaction was committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.fixtures.proxy import Loss, Proxy

Write = Callable[..., Any]


@pytest.fixture
def engine(proxy: Proxy, schema: str, conn: psycopg.Connection) -> Iterator[Engine]:
    """The usual engine behind the proxy; the test's own queries do not use the proxy."""
    engine = Engine(proxy.url, schema, conn)
    engine.conn.execute(f'CREATE TABLE "{engine.schema}".made (call integer)')
    yield engine
    engine.close()


def losing(engine: Engine, lose: Callable[[], None], *, is_async: bool) -> Write:
    """A function that writes the number of its call; the first commit after it is disturbed."""
    statement, calls = f'INSERT INTO "{engine.schema}".made VALUES (%s)', [0]

    def count() -> int:
        calls[0] += 1
        if calls[0] == 1:
            lose()
        return calls[0]

    def write(conn: psycopg.Connection[Any]) -> int:
        call = count()
        conn.execute(statement, [call])
        return call

    async def awrite(conn: psycopg.AsyncConnection[Any]) -> int:
        call = count()
        await conn.execute(statement, [call])
        return call

    return awrite if is_async else write


@sync_and_async
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.REQUEST])
def test_a_commit_that_took_place_is_not_repeated_and_one_that_did_not_is(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, is_async: bool, loss: Loss
) -> None:
    lose = proxy.lose_answer if loss is Loss.ANSWER else proxy.lose_request
    write = losing(engine, lose, is_async=is_async)

    def body(step: Any) -> Any:
        return (yield step.transaction("do", write))

    engine.workflow(as_workflow(body))
    row = engine.finish(engine.start())
    assert proxy.lost[loss] == 1
    call = 1 if loss is Loss.ANSWER else 2
    found = engine.conn.execute(f'SELECT call FROM "{engine.schema}".made').fetchall()
    assert (row["status"], row["output"], found) == ("completed", call, [(call,)])
    assert engine.statuses(row["id"]) == [("do", "completed")]
