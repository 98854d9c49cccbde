"""Keys of limits: what a start stores of the input, and inputs that have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from owsuper import Concurrency, OpenWorkflow, Rate, Step, Workflow
from owsuper.errors import ConfigurationError, InvalidData
from owsuper.workflow.run_config import key_text
from tests.client.conftest import Rows
from tests.client.sync_and_async import Call, sync_and_async


@dataclass
class Order:
    tenant: str
    lines: list[dict[str, Any]]


def keys(rows: Rows, run_id: str) -> Any:
    return rows.get(run_id)["config"].get("owsuper")


def by_path(ow: OpenWorkflow, path: str) -> Workflow[Any, Any]:
    @ow.workflow("flow", limits=[Concurrency(2, key=path, name="places")])
    def flow(step: Step, input: Any) -> None: ...

    return flow


@sync_and_async
def test_every_start_of_a_limited_workflow_stores_its_keys(
    ow: OpenWorkflow, rows: Rows, call: Call
) -> None:
    flow = by_path(ow, "order.customer.id")
    value = {"order": {"customer": {"id": 7}}}
    expected = {"keys": {"places": "7"}}
    runs = [
        call(flow, "run", value),
        call(flow, "run", value, idempotency_key="k"),
        *call(flow, "run_many", [value]),
        call(ow, "run_workflow", flow, value),
    ]
    assert [keys(rows, run.id) for run in runs] == [expected] * 4
    assert keys(rows, call(flow, "run", value, priority=3).id) == {"priority": 3, **expected}
    assert keys(rows, call(ow, "run_workflow", "flow", value).id) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("t", "t"),
        ("", ""),
        ("é", "é"),
        (7, "7"),
        (2**60, str(2**60)),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (-0.0, "0.0"),
        (1e22, "1" + "0" * 22),
        (1.5e-7, "0.00000015"),
    ],
)
def test_the_text_of_a_key_is_that_of_postgres(ow: OpenWorkflow, value: Any, text: str) -> None:
    run = by_path(ow, "id").run({"id": value})
    with ow._database.session()._pool.connection(5) as conn:
        [stored, of_sql] = conn.execute(
            f"""SELECT config #>> '{{owsuper,keys,places}}', coalesce(input #>> '{{id}}', 'null')
            FROM "{ow._database.session().schema}".workflow_runs WHERE id = '{run.id}'"""
        ).fetchone() or (None, None)
    assert (stored, of_sql) == (text, text)


def test_a_path_leads_into_lists_and_models(ow: OpenWorkflow, rows: Rows) -> None:
    @ow.workflow(limits=[Rate(5, per="1s", key="lines.1.sku"), Concurrency(1, key="tenant")])
    def order(step: Step, input: Order) -> None: ...

    run = order.run(Order("t", [{}, {"sku": "a"}]))
    assert keys(rows, run.id)["keys"] == {
        "order/rate/lines.1.sku": "a",
        "order/concurrency/tenant": "t",
    }


def test_a_function_gets_the_input_as_the_workflow_does(ow: OpenWorkflow, rows: Rows) -> None:
    def region(order: Order) -> str:
        return order.tenant[:2]

    @ow.workflow(limits=[Concurrency(1, key=region)])
    def order(step: Step, input: Order) -> None: ...

    for value in (Order("eu-7", []), {"tenant": "eu-7", "lines": []}):
        run = order.run(value)  # type: ignore[arg-type]  # plain JSON may stand for the type
        assert keys(rows, run.id)["keys"] == {"order/concurrency/region": "eu"}


def test_a_limit_without_a_key_needs_none(ow: OpenWorkflow, rows: Rows) -> None:
    @ow.workflow(limits=[Concurrency(1)])
    def flow(step: Step) -> None: ...

    assert keys(rows, flow.run().id) == {"keys": {}}


@sync_and_async
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, r'^input of workflow "flow": it has no "order", and the limit "places" needs'),
        ({"order": {}}, r'^input\.order of workflow "flow": it has no "id"'),
        ({"order": 7}, r'^input\.order of workflow "flow": it has no "id"'),
        ({"order": []}, r'^input\.order of workflow "flow": it has no "id"'),
        (None, r'^input of workflow "flow": it has no "order"'),
        ({"order": {"id": {}}}, r"^input\.order\.id of .*: {} cannot be the key of a limit"),
        ({"order": {"id": [1]}}, r"^input\.order\.id of .*: \[1\] cannot be the key of a limit"),
        ({"order": {"id": "x" * 501}}, r"cannot be the key of a limit. It has 501 characters"),
    ],
)
def test_an_input_without_a_usable_key_is_refused_before_anything_is_stored(
    ow: OpenWorkflow, value: Any, message: str, call: Call
) -> None:
    flow = by_path(ow, "order.id")
    with pytest.raises(InvalidData, match=message):
        call(flow, "run", value)
    with pytest.raises(InvalidData, match=message.replace("^input", r"^inputs\[1\]")):
        call(flow, "run_many", [{"order": {"id": 1}}, value])
    assert not call(ow, "list_runs").items


@pytest.mark.parametrize("wrong", [[1], {}, float("nan"), float("inf"), b"7", "a\0"])
def test_what_a_function_returns_must_be_a_key(ow: OpenWorkflow, wrong: Any) -> None:
    @ow.workflow(limits=[Concurrency(1, key=lambda input: wrong, name="places")])
    def flow(step: Step) -> None: ...

    with pytest.raises(InvalidData, match=r'the key of the limit "places" of workflow "flow": '):
        flow.run()
    assert not ow.list_runs().items


def test_what_a_function_raises_reaches_the_caller(ow: OpenWorkflow) -> None:
    @ow.workflow(limits=[Concurrency(1, key=lambda input: input["no"])])
    def flow(step: Step, input: Any) -> None: ...

    with pytest.raises(KeyError, match="no"):
        flow.run({})
    assert not ow.list_runs().items


def test_two_workflows_may_share_a_limit_and_not_its_name_alone(ow: OpenWorkflow) -> None:
    shared = Rate(5, per="1s", name="mail")
    ow.workflow("one", limits=[shared])(lambda step: None)
    ow.workflow("two", limits=[Rate(5, per="1s", name="mail")])(lambda step: None)
    with pytest.raises(ConfigurationError, match=r'"three" and .*"one" define the limit "mail"'):
        ow.workflow("three", limits=[Rate(6, per="1s", name="mail")])(lambda step: None)
    assert ow.registry.get("three") is None


def test_a_limit_that_decides_about_starts_is_that_of_one_workflow(ow: OpenWorkflow) -> None:
    shared = Concurrency(1, name="import", on_conflict="drop")
    ow.workflow("one", version="1", limits=[shared])(lambda step: None)
    ow.workflow("one", version="2", limits=[shared])(lambda step: None)
    with pytest.raises(ConfigurationError, match=r'"two" and .*"one".* share the limit "import"'):
        ow.workflow("two", limits=[shared])(lambda step: None)
    assert ow.registry.get("two") is None


def test_versions_of_a_workflow_share_its_limits(ow: OpenWorkflow) -> None:
    ow.workflow("flow", version="1", limits=[Concurrency(1)])(lambda step: None)
    with pytest.raises(ConfigurationError, match=r'define the limit "flow/concurrency"'):
        ow.workflow("flow", version="2", limits=[Concurrency(2)])(lambda step: None)
    for others in ([], [Concurrency(1), Rate(5, per="1s")]):
        with pytest.raises(ConfigurationError, match="have different ones"):
            ow.workflow("flow", version="2", limits=others)(lambda step: None)
    ow.workflow("plain", version="1")(lambda step: None)
    with pytest.raises(ConfigurationError, match="have different ones"):
        ow.workflow("plain", version="2", limits=[Concurrency(1)])(lambda step: None)
    ow.workflow("plain", version="2")(lambda step: None)


def test_a_bool_is_no_number() -> None:
    assert [key_text(each) for each in (1, True, 1.0)] == ["1", "true", "1.0"]
