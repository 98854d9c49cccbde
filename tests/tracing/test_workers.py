"""Workers in the process that starts runs."""

from __future__ import annotations

from owsuper import OpenWorkflow, Step, ThreadWorker
from tests.tracing.conftest import Spans, attributes, is_child


def test_a_worker_in_threads_does_not_inherit_the_span_that_started_it(
    ow: OpenWorkflow, spans: Spans
) -> None:
    @ow.workflow
    def order(step: Step) -> str:
        return step.run("one", lambda: "done")

    with spans.tracer.start_as_current_span("main"), ThreadWorker(ow):
        assert order.run().result(60) == "done"
    run, created = spans.one("workflow_run.execute"), spans.one("workflow_run.create")
    assert run.parent is None
    assert [link.context.span_id for link in run.links] == [created.context.span_id]
    assert is_child(created, spans.one("main"))
    assert attributes(spans.one("step_attempt.execute"))["step.name"] == "one"
