"""Runs whose ids the caller has chosen, sync and async: once, for ever, and of one workflow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from owsuper import OpenWorkflow, Step, Workflow
from owsuper.errors import ConfigurationError, RunExists
from tests.client.conftest import Rows
from tests.client.sync_and_async import Call, sync_and_async
from tests.fixtures.proxy import Proxy


@pytest.fixture
def order(ow: OpenWorkflow) -> Workflow[int, int]:
    @ow.workflow("order", version="2")
    def order(step: Step, input: int) -> int:
        return input

    return order


@sync_and_async
def test_the_run_has_the_chosen_id(order: Workflow[int, int], rows: Rows, call: Call) -> None:
    own = uuid4()
    assert call(order, "run", 1, id=own).id == str(own)
    longest = "Z" + "-_.:@+=~9" * 22 + "a"
    for run_id in ("order-17", "7", "a@b.c:1", longest):
        assert call(order, "run", 1, id=run_id).id == run_id
        assert rows.get(run_id)["workflow_name"] == "order"


@sync_and_async
def test_a_run_that_exists_is_returned_whatever_its_input_version_and_status(
    ow: OpenWorkflow, order: Workflow[int, int], rows: Rows, call: Call
) -> None:
    call(order, "run", 1, id="order-1")
    before = rows.get("order-1")
    assert call(order, "run", 2, id="order-1", available_at="1h").id == "order-1"
    assert call(ow, "run_workflow", "order", 3, id="order-1").id == "order-1"
    assert rows.get("order-1") == before
    rows.end("order-1", status="completed", output=9)
    again = call(order, "run", 2, id="order-1")
    assert call(again, "result", timeout=5) == 9


@sync_and_async
def test_the_id_of_another_workflow_is_refused(
    ow: OpenWorkflow, order: Workflow[int, int], call: Call
) -> None:
    call(ow, "run_workflow", "ship", id="17")
    with pytest.raises(RunExists, match=r'"order" with the id 17: a run of workflow "ship"') as e:
        call(order, "run", 1, id="17")
    assert e.value.run_id == "17"


def test_namespaces_have_ids_of_their_own(
    database_url: str, schema: str, order: Workflow[int, int]
) -> None:
    order.run(1, id="17")
    other = OpenWorkflow(database_url, schema=schema, namespace="other")
    assert other.run_workflow("ship", id="17").details().workflow_name == "ship"
    other.close()


@sync_and_async
@pytest.mark.parametrize(
    "wrong", ["", "-a", ".a", "a b", "a/b", "a\n", "ä", "a\0", "x" * 201, 7, b"a", UUID, True]
)
def test_what_can_be_no_id_is_refused(order: Workflow[int, int], wrong: Any, call: Call) -> None:
    with pytest.raises(ConfigurationError, match=r"id: .* must be a UUID, or text of 1 to 200"):
        call(order, "run", 1, id=wrong)


@sync_and_async
def test_an_id_and_a_key_are_refused(order: Workflow[int, int], call: Call) -> None:
    with pytest.raises(ConfigurationError, match="either an id or an idempotency_key"):
        call(order, "run", 1, id="a", idempotency_key="k")


def test_callers_at_once_start_one_run(order: Workflow[int, int], rows: Rows) -> None:
    together = threading.Barrier(8)

    def start(number: int) -> str:
        together.wait()
        return order.run(number, id="one").id

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(start, range(8))) == {"one"}
    assert rows.get("one")["input"] in range(8)


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_an_id_is_chosen_in_a_transaction_of_the_caller(
    order: Workflow[int, int], rows: Rows, database_url: str, isolation: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        for end in ("ROLLBACK", "COMMIT"):
            conn.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
            assert order.run(1, id="17", connection=conn).id == "17"
            assert order.run(2, id="17", connection=conn).id == "17"
            conn.execute(end.encode())
    assert rows.get("17")["input"] == 1


@pytest.fixture
def through_proxy(proxy: Proxy, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(proxy.url, schema=schema, listen=False)
    yield ow
    ow.close()


@sync_and_async
@pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])
def test_a_start_whose_answer_was_lost_starts_one_run(
    through_proxy: OpenWorkflow,
    proxy: Proxy,
    rows: Rows,
    call: Call,
    lose: Callable[[Proxy], None],
) -> None:
    call(through_proxy, "count_runs")
    lose(proxy)
    assert call(through_proxy, "run_workflow", "order", 1, id="17").id == "17"
    proxy.wait_for_drop()
    assert rows.get("17")["status"] == "pending"
