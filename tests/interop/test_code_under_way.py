"""Runs that are woken, repeated, continued or patched, seen by the other implementation."""

from __future__ import annotations

import psycopg
import pytest

from owsuper import OpenWorkflow, RunFailed
from owsuper.errors import RunNotWakeable
from tests.client.conftest import eventually
from tests.fixtures.processes import Program
from tests.interop.conftest import Peer, Peers
from tests.interop.test_together import ADA


@pytest.mark.parametrize("parent", ["ts", "py"])
def test_a_parent_gets_the_result_of_the_last_run_of_a_child_that_continues(
    parent: str, python: OpenWorkflow, peer: Peers, worker: Program
) -> None:
    peer("worker", "ts-parent")
    run = python.run_workflow(f"{parent}-parent", {"child": "py-chain", "input": {"left": 5}})
    assert run.result(timeout=60) == {"child": "the last"}


def test_the_runs_of_a_chain_are_listed_in_typescript(
    python: OpenWorkflow, typescript: Peer, worker: Program
) -> None:
    handle = python.run_workflow("py-chain", {"left": 2})
    assert handle.result(timeout=60) == "the last"
    listed = typescript("runs")["data"]
    assert [(run["status"], run["output"]) for run in listed] == [
        ("completed", "the last"),
        ("completed", None),
        ("completed", None),
    ]


@pytest.mark.parametrize(("workflow", "output"), [("ts-nap", "awake"), ("ts-wait", None)])
def test_a_run_of_typescript_is_woken(
    workflow: str, output: str | None, python: OpenWorkflow, peer: Peers
) -> None:
    peer("worker", workflow)
    handle = python.run_workflow(workflow, {"signal": "go"})

    def is_woken() -> bool:
        if not python.list_step_attempts(handle.id).items:
            return False
        try:
            handle.wake()
        except RunNotWakeable:  # it is about to park
            return False
        return True

    eventually(is_woken)
    assert handle.result(timeout=60) == output


def test_a_run_of_typescript_is_repeated_from_a_step_on(python: OpenWorkflow, peer: Peers) -> None:
    peer("worker", "ts-charge")
    handle = python.run_workflow("ts-charge", {"amount": -7})
    with pytest.raises(RunFailed, match="a bad amount"):
        handle.result(timeout=60)
    steps = {each.step_name: each for each in python.list_step_attempts(handle.id).items}
    again = handle.rerun("charge", input={"amount": 7})
    assert again.result(timeout=60) == {"token": steps["reserve"].output, "amount": 7}


def test_a_run_of_typescript_goes_back_to_a_step(python: OpenWorkflow, peer: Peers) -> None:
    peer("worker", "ts-charge")
    handle = python.run_workflow("ts-charge", {"amount": 7})
    first = handle.result(timeout=60)
    handle.retry("charge")
    assert handle.result(timeout=60) == first
    handle.retry("reserve")
    again = handle.result(timeout=60)
    assert again["token"] != first["token"]
    listed = python.list_step_attempts(handle.id).items
    assert [each.step_name for each in listed].count("charge") == 3
    assert sum(each.retried_at is None for each in listed) == 2


def test_typescript_reads_which_branch_a_run_takes(
    python: OpenWorkflow, peer: Peers, conn: psycopg.Connection, schema: str
) -> None:
    handle = python.run_workflow("ts-patched")
    conn.execute(
        f'INSERT INTO "{schema}".step_attempts (namespace_id, id, workflow_run_id, step_name, kind,'
        " status, config, context, output, created_at, updated_at) VALUES ('default', 'p', $1,"
        """ 'patched:tax', 'function', 'completed', '{}', '{"kind": "patch"}', 'false', now(),"""
        " now())",
        [handle.id],
    )
    peer("worker", "ts-patched")
    assert handle.result(timeout=60) is False


def test_typescript_executes_and_reads_a_run_with_an_id_that_the_caller_chose(
    python: OpenWorkflow, typescript: Peer, peer: Peers
) -> None:
    peer("worker", "ts-greet", "ts-parent")
    handle = python.run_workflow("ts-parent", {"child": "ts-greet", "input": ADA}, id="order-17")
    assert handle.result(timeout=60)["child"]["greeting"] == "hello ADA"
    assert typescript("result", id="order-17")["status"] == "completed"
    newest, oldest = typescript("runs", limit=1), typescript("runs")["data"][-1]
    assert oldest["id"] == "order-17"
    page = typescript("runs", limit=1, after=newest["pagination"]["next"])
    assert [run["id"] for run in page["data"]] == ["order-17"]
