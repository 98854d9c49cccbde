"""Traces of both implementations join: each links to what the other has started."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from owsuper import OpenWorkflow
from tests.fixtures.processes import Spawn
from tests.interop.conftest import PATIENCE, Peer, Peers
from tests.interop.traced_flows import told
from tests.tracing.conftest import Spans, spans  # noqa: F401 - a fixture

Told = list[dict[str, Any]]


def named(told: Told, name: str, workflow: str | None = None) -> Told:
    """The spans of this name, of this workflow if one is given."""
    return [
        span
        for span in told
        if span["name"] == name
        and workflow in (None, span["attributes"].get("openworkflow.workflow.name"))
    ]


def one(told: Told, name: str, workflow: str | None = None) -> dict[str, Any]:
    (span,) = named(told, name, workflow)
    return span


def ended(peer: Peer, count: int) -> Told:
    """The spans of a worker in TypeScript, at least so many: one ends after its run has ended."""
    give_up = time.monotonic() + PATIENCE
    while len(told := peer("spans")) < count and time.monotonic() < give_up:
        time.sleep(0.02)  # another process can only be asked
    return told


def identity(span: dict[str, Any]) -> list[str]:
    return [span["trace"], span["id"]]


@pytest.fixture
def written(database_url: str, schema: str, spawn_owsuper: Spawn, tmp_path: Path) -> Any:
    """A worker in Python that traces, and a function that stops it and reads its spans."""
    path = tmp_path / "spans"
    program = spawn_owsuper(
        *("--module", "tests.interop.traced_flows", "--schema", schema, "--processes", "2"),
        env={"OWSUPER_DATABASE_URL": database_url, "SPANS": str(path)},
        cwd=tmp_path,
    )
    program.stderr.wait_for("ready: ", timeout=PATIENCE)

    def read() -> Told:
        program.terminate()
        assert program.wait() == 0
        return [json.loads(line) for line in path.read_text().splitlines()]

    return read


def test_a_run_that_typescript_starts_links_to_its_span(peer: Peers, written: Any) -> None:
    typescript = peer("client", traced=True)
    run_id = typescript("run", workflow="py-traced", input={})
    ended = typescript("result", id=run_id)
    assert ended["output"] == {"tenant": "t1", "child": None}
    there, here = typescript("spans"), written()
    created = one(there, "workflow_run.create")
    assert created["parent"] == one(there, "request")["id"]
    run, step = one(here, "workflow_run.execute"), one(here, "step_attempt.execute")
    assert run["links"] == [identity(created)]
    assert run["trace"] != created["trace"]
    assert step["parent"] == run["id"]
    assert one(here, "own")["parent"] == step["id"]


def test_runs_that_python_starts_are_linked_to_there_and_child_runs_too(
    peer: Peers,
    written: Any,
    spans: Spans,  # noqa: F811 - the fixture
    python: OpenWorkflow,
) -> None:
    typescript = peer("worker", "ts-greet", "ts-parent", traced=True)
    with spans.tracer.start_as_current_span("request"):
        greeted = python.run_workflow("ts-greet", {"name": "ada"})
        parent = python.run_workflow("py-traced", {"name": "bob", "child": "ts-greet"})
        other = python.run_workflow("ts-parent", {"child": "py-traced", "input": {}})
    assert greeted.result(PATIENCE)["greeting"] == "hello ADA"
    assert parent.result(PATIENCE)["child"]["greeting"] == "hello BOB"
    assert other.result(PATIENCE)["child"]["tenant"] is None
    here, there = written(), ended(typescript, 9)
    ours = [told(span) for span in spans.all]
    created = {
        span["attributes"]["openworkflow.run.id"]: span
        for span in named([*ours, *here, *there], "workflow_run.create")
    }
    assert len(created) == 5
    for span in named([*here, *there], "workflow_run.execute"):
        origin = created[span["attributes"]["openworkflow.run.id"]]
        assert span["links"] == [identity(origin)]
    children = [span for span in created.values() if span["parent"] is not None]
    executions = {span["id"]: span for span in [*here, *there]}
    crossed = [executions[span["parent"]] for span in children if span["parent"] in executions]
    assert {span["attributes"]["openworkflow.workflow.name"] for span in crossed} == {
        "py-traced",
        "ts-parent",
    }
    assert {
        span["attributes"]["openworkflow.step.name"]
        for span in named(there, "step_attempt.execute", "ts-greet")
    } == {"name"}


def alike(told: Told) -> list[tuple[Any, ...]]:
    """What must be the same in both: all but ids, times, and the names of languages' errors."""
    constant = ("execution.outcome", "execution.attempt", "step.name", "step.kind", "signal.name")
    return [
        (
            span["name"],
            span["kind"],
            span["status"],
            span["events"],
            len(span["links"]),
            span["parent"] is not None,
            sorted(span["attributes"]),
            [span["attributes"].get(f"openworkflow.{name}") for name in constant],
        )
        for span in told
    ]


@pytest.mark.parametrize(
    ("flow", "given", "status"),
    [
        ("greet", {"name": "ada"}, "completed"),
        ("fail", None, "failed"),
        ("charge", {"amount": -1}, "failed"),
        ("send", {"signal": "nobody", "data": 1}, "completed"),
    ],
)
def test_workers_of_both_make_the_same_spans(
    peer: Peers, written: Any, flow: str, given: Any, status: str
) -> None:
    client, worker = peer("client"), peer("worker", f"ts-{flow}", traced=True)
    for language in ("ts", "py"):
        run_id = client("run", workflow=f"{language}-{flow}", input=given)
        assert client("result", id=run_id)["status"] == status
    ours = alike(written())
    assert ours == alike(ended(worker, len(ours)))


def test_both_describe_the_same_run_alike(
    peer: Peers,
    spans: Spans,  # noqa: F811 - the fixture
    python: OpenWorkflow,
) -> None:
    """A canceled run and a signal have the same spans from either client."""
    typescript = peer("client", traced=True)
    first = python.run_workflow("nobody-serves-this").id
    second = typescript("run", workflow="nobody-serves-this", input=None)
    typescript("cancel", id=first)
    python.get_run(second).cancel()
    typescript("signal", signal="paid", data=1)
    python.send_signal("paid", 1)
    there, ours = typescript("spans"), [told(span) for span in spans.all]
    for name in ("workflow_run.create", "workflow_run.cancel", "signal.send"):
        theirs, own = one(there, name), one(ours, name)
        assert theirs["attributes"].keys() == own["attributes"].keys(), name
        assert len(theirs["links"]) == len(own["links"]), name
    assert one(there, "workflow_run.cancel")["links"] == [
        identity(one(ours, "workflow_run.create"))
    ]
    assert one(ours, "workflow_run.cancel")["links"] == [
        identity(one(there, "workflow_run.create"))
    ]
