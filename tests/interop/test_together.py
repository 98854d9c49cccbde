"""What one implementation starts, the other executes, waits for, cancels, lists and wakes."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from owsuper import OpenWorkflow, RunCanceled, RunFailed
from owsuper.db import migrate
from tests.fixtures.processes import Program
from tests.interop.conftest import Peer, Peers

ADA = {"name": "Ada"}


def test_typescript_starts_what_python_executes(typescript: Peer, worker: Program) -> None:
    run_id = typescript("run", workflow="py-greet", input=ADA)
    end = typescript("result", id=run_id)
    assert end["status"] == "completed"
    assert end["output"] == {"greeting": "hello ADA", "from": "Python"}
    steps = typescript("steps", id=run_id)["data"]
    # Of one millisecond they come in the order of their ids.
    assert sorted((step["stepName"], step["kind"], step["status"]) for step in steps) == [
        ("name", "function", "completed"),
        ("pause", "sleep", "completed"),
    ]


def test_python_starts_what_typescript_executes(python: OpenWorkflow, peer: Peers) -> None:
    peer("worker", "ts-greet")
    handle = python.run_workflow("ts-greet", ADA)
    assert handle.result(timeout=60) == {"greeting": "hello ADA", "from": "TypeScript"}


@pytest.mark.parametrize(("parent", "child"), [("ts", "py"), ("py", "ts")])
def test_a_parent_of_one_language_has_a_child_of_the_other(
    parent: str, child: str, python: OpenWorkflow, peer: Peers, worker: Program
) -> None:
    peer("worker", f"{parent if parent == 'ts' else child}-parent", "ts-greet")
    run = python.run_workflow(f"{parent}-parent", {"child": f"{child}-greet", "input": ADA})
    language = {"py": "Python", "ts": "TypeScript"}[child]
    assert run.result(timeout=60) == {"child": {"greeting": "hello ADA", "from": language}}


@pytest.mark.parametrize(
    ("parent", "child", "message"),
    [("ts", "py", "no such thing in Python"), ("py", "ts", "no such thing in TypeScript")],
)
def test_the_error_of_a_child_crosses_to_its_parent(
    parent: str, child: str, message: str, python: OpenWorkflow, peer: Peers, worker: Program
) -> None:
    peer("worker", "ts-parent", "ts-fail")
    run = python.run_workflow(f"{parent}-parent", {"child": f"{child}-fail", "input": {}})
    with pytest.raises(RunFailed, match=message):
        run.result(timeout=60)


def test_an_exception_of_python_is_readable_in_typescript(
    typescript: Peer, worker: Program
) -> None:
    run_id = typescript("run", workflow="py-fail", input={})
    end = typescript("result", id=run_id)
    assert end["status"] == "failed"
    assert end["error"]["name"] == "LookupError"
    assert end["error"]["message"] == "no such thing in Python"
    assert "flows.py" in end["error"]["stack"]


def test_an_exception_of_typescript_is_readable_in_python(
    python: OpenWorkflow, peer: Peers
) -> None:
    peer("worker", "ts-fail")
    with pytest.raises(RunFailed) as failed:
        python.run_workflow("ts-fail", {}).result(timeout=60)
    error = failed.value.error
    assert error.message == "no such thing in TypeScript"
    assert error.stack is not None
    assert "peer.mjs" in error.stack


def parked(conn: psycopg.Connection, schema: str, count: int) -> None:
    """Wait until so many runs are parked at waits for signals."""
    query = (
        f'SELECT count(*) FROM "{schema}".step_attempts AS s JOIN "{schema}".workflow_runs AS r'
        " ON r.id = s.workflow_run_id WHERE s.kind = 'signal-wait' AND r.worker_id IS NULL"
    )
    while conn.execute(query.encode()).fetchone() != (count,):
        pass


def test_a_signal_reaches_waits_of_both_languages_whoever_sends_it(
    python: OpenWorkflow,
    typescript: Peer,
    peer: Peers,
    worker: Program,
    conn: psycopg.Connection,
    schema: str,
) -> None:
    peer("worker", "ts-wait", "ts-send")
    runs = {}
    for signal in ("a", "b", "c", "d"):
        for language in ("ts", "py"):
            runs[signal, language] = python.run_workflow(f"{language}-wait", {"signal": signal})
    parked(conn, schema, 8)
    reached = {
        "a": python.send_signal("a", {"n": 1}),
        "b": typescript("signal", signal="b", data={"n": 1}),
        "c": python.run_workflow("py-send", {"signal": "c", "data": {"n": 1}}).result(timeout=60),
        "d": python.run_workflow("ts-send", {"signal": "d", "data": {"n": 1}}).result(timeout=60)[
            "workflowRunIds"
        ],
    }
    for (signal, _), run in runs.items():
        assert run.id in reached[signal]
        assert run.result(timeout=60) == {"data": {"n": 1}}


def test_python_skips_what_typescript_sends_and_does_not_fit(
    python: OpenWorkflow,
    typescript: Peer,
    worker: Program,
    conn: psycopg.Connection,
    schema: str,
) -> None:
    run = python.run_workflow("py-wait-number", {"signal": "n"})
    parked(conn, schema, 1)
    assert typescript("signal", signal="n", data="seven", key="k") == [run.id]
    while not python.list_skipped_signals(run.id):
        pass
    assert typescript("signal", signal="n", data=7, key="k") == [run.id]  # sent before
    assert typescript("signal", signal="n", data=7) == [run.id]
    assert run.result(timeout=60) == {"data": 7}
    assert [each.data for each in python.list_skipped_signals(run.id)] == ["seven"]


def test_starts_with_one_key_raced_by_both_languages_are_one_run(
    python: OpenWorkflow, peer: Peers
) -> None:
    peers = [peer("client") for _ in range(2)]
    for number in range(20):
        key = f"key {number}"
        with ThreadPoolExecutor(4) as pool:
            asked = [
                pool.submit(each, "run", workflow="py-greet", input=ADA, key=key) for each in peers
            ]
            ours = [
                pool.submit(python.run_workflow, "py-greet", ADA, idempotency_key=key)
                for _ in range(2)
            ]
            ids = {each.result() for each in asked} | {each.result().id for each in ours}
        assert len(ids) == 1


def test_each_cancels_what_the_other_started(
    python: OpenWorkflow, typescript: Peer, worker: Program
) -> None:
    theirs = typescript("run", workflow="py-slow", input={})
    python.get_run(theirs).cancel()
    assert typescript("result", id=theirs)["status"] == "canceled"
    ours = python.run_workflow("py-slow", {})
    typescript("cancel", id=ours.id)
    with pytest.raises(RunCanceled):
        ours.result(timeout=60)
    done = python.run_workflow("py-greet", ADA)
    done.result(timeout=60)
    refused = typescript.ask("cancel", id=done.id)["error"]
    assert refused == f"Cannot cancel workflow run {done.id} with status completed"


def test_typescript_lists_what_python_wrote_page_by_page(
    python: OpenWorkflow, typescript: Peer, worker: Program
) -> None:
    runs = [python.run_workflow("py-greet", ADA) for _ in range(7)]
    for run in runs:
        run.result(timeout=60)
    seen, page = [], typescript("runs", limit=3)
    while True:
        seen += [run["id"] for run in page["data"]]
        if (after := page["pagination"]["next"]) is None:
            break
        assert json.loads(base64.b64decode(after))["id"] == page["data"][-1]["id"]
        page = typescript("runs", limit=3, after=after)
    assert set(seen) == {run.id for run in runs}
    assert len(seen) == 7
    first = typescript("steps", id=runs[0].id, limit=1)
    second = typescript("steps", id=runs[0].id, limit=1, after=first["pagination"]["next"])
    assert {page["data"][0]["stepName"] for page in (first, second)} == {"name", "pause"}
    assert typescript("counts")["completed"] == 7


def test_workers_of_both_languages_in_one_namespace_leave_each_other_their_runs(
    python: OpenWorkflow, peer: Peers, worker: Program
) -> None:
    """Theirs claims whatever is due, and puts back what it does not know, for seconds; ours
    takes it back.
    """
    for _ in range(3):
        peer("worker", "ts-greet")
    ours = [python.run_workflow("py-greet", ADA) for _ in range(60)]
    theirs = [python.run_workflow("ts-greet", ADA) for _ in range(5)]
    for run in (*ours, *theirs):
        assert run.result(timeout=60)["greeting"] == "hello ADA"


def test_a_run_that_was_put_back_by_a_worker_that_does_not_know_it_is_taken_up_at_once(
    python: OpenWorkflow,
    peer: Peers,
    conn: psycopg.Connection,
    schema: str,
    request: pytest.FixtureRequest,
) -> None:
    stranger = peer("worker", "ts-greet")
    run = python.run_workflow("py-greet", ADA)
    query = f"SELECT error ->> 'message' FROM \"{schema}\".workflow_runs WHERE attempts > 1"
    while (row := conn.execute(query.encode()).fetchone()) is None:
        pass
    assert row == ('Workflow "py-greet" is not registered',)
    stranger.end()
    # As it leaves the run, but for longer; perhaps it had just claimed it again.
    put_back = (
        f"UPDATE \"{schema}\".workflow_runs SET status = 'pending', worker_id = NULL,"
        " available_at = now() + interval '1 hour'"
    )
    conn.execute(put_back.encode())
    request.getfixturevalue("worker")
    assert run.result(timeout=60)["from"] == "Python"


def test_both_migrate_one_empty_database_at_the_same_time(
    peer: Peers, conn: psycopg.Connection, schema: str, package: Path
) -> None:
    conn.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())
    with ThreadPoolExecutor(4) as pool:
        theirs = [pool.submit(migrated_by_theirs, peer) for _ in range(2)]
        migrate.migrate(conn, schema)
        for each in theirs:
            each.result()
    assert migrate.check(conn, schema) == []
    versions = f'SELECT version FROM "{schema}".openworkflow_migrations ORDER BY version'
    assert conn.execute(versions.encode()).fetchall() == [(n,) for n in range(6)]


def migrated_by_theirs(peer: Peers) -> None:
    """It takes no lock, so it may lose the race; then it is done all the same."""
    with suppress(AssertionError):
        peer("migrate")
