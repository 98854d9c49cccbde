"""Workers in the process that starts runs."""

from __future__ import annotations

from owsuper import OpenWorkflow, Step, ThreadWorker
from owsuper.testing import run_in_process
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


def test_runs_in_the_process_of_a_test_make_spans_of_executions_and_steps(spans: Spans) -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def kid(step: Step) -> None:
        step.run("inner", lambda: None)

    @ow.workflow
    def order(step: Step) -> None:
        step.run_workflow(kid)

    with spans.tracer.start_as_current_span("test"):
        run_in_process(order)
    created = spans.one("workflow_run.create")
    first, child, second = spans.named("workflow_run.execute")
    assert is_child(created, first)
    assert is_child(spans.of_step("inner"), child)
    assert [link.context.span_id for link in child.links] == [created.context.span_id]
    assert (first.parent, child.parent, second.parent) == (None, None, None)
