"""The spans and carriers that OpenWorkflow for TypeScript makes: trace_context.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context

from owsuper import Step
from tests.child.conftest import Engine
from tests.tracing.conftest import Contexts, Spans

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "trace_context.json").read_text())
CASES = {case["label"]: case for case in VECTOR["cases"]}


def masked(value: Any) -> Any:
    """``value`` with the placeholders of the vector."""
    if isinstance(value, dict):
        return {name: masked(inner) for name, inner in value.items()}
    if not isinstance(value, str):
        return value
    for pattern, mask in (
        (r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", "00-<trace id>-<span id>-01"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<iso-ms>"),
    ):
        if re.fullmatch(pattern, value):
            return mask
    return value


@pytest.fixture
def main(engine: Engine) -> Iterator[Any]:
    """The run of the vector: a step a, a sleep z, a signal s, a child run of kid."""

    @engine.ow.workflow
    def kid(step: Step) -> None:
        pass

    @engine.workflow
    def main(step: Step) -> None:
        step.run("a", lambda: None)
        step.sleep("z", "1h")
        step.send_signal("s")
        step.run_workflow(kid)

    def run() -> list[str]:
        run_id: str = main.run().id
        engine.execute_once(run_id)
        engine.execute_once(run_id)  # to the child run
        (child,) = [row["child_workflow_run_id"] for row in engine.steps(run_id)][-1:]
        engine.finish(child)
        engine.finish(run_id)
        return [run_id, child]

    return run


def test_without_a_provider_nothing_is_stored(main: Any, context_of: Contexts) -> None:
    expected = CASES["no tracing library installed or nothing to propagate"]["runs"]
    found = [context_of(run_id) for run_id in main()]
    assert found == [run["context"] for run in expected]


@pytest.mark.parametrize("label", [label for label in CASES if "library" not in label])
def test_the_context_of_the_runs(spans: Spans, main: Any, context_of: Contexts, label: str) -> None:
    with ExitStack() as stack:
        if "baggage" in label:
            token = context.attach(baggage.set_baggage("tenant", "t1"))
            stack.callback(context.detach, token)
        if "ambient span" in label and "no ambient" not in label:
            stack.enter_context(spans.tracer.start_as_current_span("request"))
        found = [masked(context_of(run_id)) for run_id in main()]
    assert found == [run["context"] for run in CASES[label]["runs"]]


def test_the_spans(spans: Spans, main: Any) -> None:
    main()
    found = [
        {
            "name": span.name,
            "kind": span.kind.name,
            "has_parent": span.parent is not None,
            "link_count": len(span.links),
            "attributes": masked(dict(span.attributes or {})),
        }
        for span in spans.all
    ]
    assert found == VECTOR["spans"]
