"""The spans of executions and steps, and the context in which user code makes its own."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import StatusCode

from owsuper import AsyncStep, RetryPolicy, Step
from owsuper.errors import StepFailed
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.tracing.conftest import Contexts, Spans, attributes, is_child, traceparent

LATER = RetryPolicy(initial_interval="1h", maximum_attempts=2)
ONCE = RetryPolicy(maximum_attempts=1)


def inner(spans: Spans, name: str) -> Any:
    """A step function that makes a span of its own."""

    def function() -> str:
        with spans.tracer.start_as_current_span(name):
            return name

    return function


def ainner(spans: Spans, name: str) -> Any:
    async def function() -> str:
        with spans.tracer.start_as_current_span(name):
            await asyncio.sleep(0)
            return name

    return function


@sync_and_async
@pytest.mark.parametrize("make", [inner, ainner])
def test_spans_of_the_users_code_are_children_of_the_span_of_their_step(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow, make: Any
) -> None:
    def body(step: Any) -> Any:
        yield step.run("charge", make(spans, "query"))

    engine.workflow(as_workflow(body))
    engine.finish(engine.start())
    assert is_child(spans.one("query"), spans.of_step("charge"))
    assert is_child(spans.of_step("charge"), spans.one("workflow_run.execute"))


@sync_and_async
def test_submitted_steps_keep_the_span_of_where_they_were_submitted(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        with spans.tracer.start_as_current_span("fan"):
            first = step.submit("first", inner(spans, "one"))
            second = step.submit("second", inner(spans, "two"))
        yield first
        yield second

    engine.workflow(as_workflow(body))
    engine.finish(engine.start())
    for step, own in (("first", "one"), ("second", "two")):
        assert is_child(spans.one(own), spans.of_step(step))
        assert is_child(spans.of_step(step), spans.one("fan"))
    assert is_child(spans.one("fan"), spans.one("workflow_run.execute"))


def test_map_and_parallel_branches_have_their_own_spans(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        step.map("mapped", lambda number: inner(spans, f"own {number}")(), [1, 2, 3])
        step.parallel(
            lambda: step.run("left", inner(spans, "l")),
            lambda: step.run("right", inner(spans, "r")),
        )

    engine.finish(engine.start())
    run = spans.one("workflow_run.execute")
    steps = [span for span in spans.named("step_attempt.execute") if is_child(span, run)]
    assert len(steps) == 5
    for name in ("own 1", "own 2", "own 3", "l", "r"):
        assert any(is_child(spans.one(name), step) for step in steps)


def test_steps_that_are_gathered_have_their_own_spans(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    async def main(step: AsyncStep) -> None:
        await asyncio.gather(
            step.run("left", ainner(spans, "l")), step.run("right", ainner(spans, "r"))
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(step.run("third", ainner(spans, "t")))

    engine.finish(engine.start())
    for step, own in (("left", "l"), ("right", "r"), ("third", "t")):
        assert is_child(spans.one(own), spans.of_step(step))
        assert is_child(spans.of_step(step), spans.one("workflow_run.execute"))


def test_a_step_in_a_thread_of_the_users_is_a_child_of_the_execution(
    engine: Engine, spans: Spans
) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        thread = threading.Thread(target=step.run, args=("there", inner(spans, "own")))
        thread.start()
        thread.join()

    engine.finish(engine.start())
    assert is_child(spans.one("own"), spans.of_step("there"))
    assert is_child(spans.of_step("there"), spans.one("workflow_run.execute"))


@sync_and_async
def test_after_a_step_the_span_of_the_execution_is_current_again(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow
) -> None:
    seen = []

    def body(step: Any) -> Any:
        seen.append(trace.get_current_span().get_span_context())
        yield step.run("one", lambda: None)
        seen.append(trace.get_current_span().get_span_context())

    engine.workflow(as_workflow(body))
    engine.finish(engine.start())
    assert seen == [spans.one("workflow_run.execute").context] * 2


@sync_and_async
def test_replayed_steps_make_no_span(engine: Engine, spans: Spans, as_workflow: AsWorkflow) -> None:
    def body(step: Any) -> Any:
        yield step.run("before", lambda: None)
        yield step.send_signal("nobody")
        yield step.sleep("nap", "1h")
        yield step.run("after", lambda: None)

    engine.workflow(as_workflow(body))
    engine.finish(engine.start())
    assert spans.names == [
        "step_attempt.execute",
        "signal.send",
        "workflow_run.execute",
        "step_attempt.execute",
        "workflow_run.execute",
    ]


def test_each_execution_is_a_trace_of_its_own_and_links_to_the_start(
    engine: Engine, spans: Spans
) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        step.sleep("nap", "1h")

    engine.finish(main.run().id)
    created = spans.one("workflow_run.create")
    first, second = spans.named("workflow_run.execute")
    assert [span.links[0].context.span_id for span in (first, second)] == [
        created.context.span_id
    ] * 2
    assert len({span.context.trace_id for span in spans.all}) == 3
    assert [attributes(span)["execution.attempt"] for span in (first, second)] == [1, 2]


def test_the_version_of_the_run_is_an_attribute(engine: Engine, spans: Spans) -> None:
    @engine.ow.workflow("dated", version="2")
    def dated(step: Step) -> None:
        step.run("once", lambda: None)

    engine.finish(dated.run().id)
    assert attributes(spans.one("workflow_run.create"))["workflow.version"] == "2"
    assert attributes(spans.one("workflow_run.execute"))["workflow.version"] == "2"


@sync_and_async
def test_baggage_reaches_the_steps_and_the_child_runs(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow, context_of: Contexts
) -> None:
    seen = []

    @engine.ow.workflow
    def kid(step: Step) -> None:
        step.run("look", lambda: seen.append(baggage.get_baggage("tenant")))

    def body(step: Any) -> Any:
        yield step.run("look", lambda: seen.append(baggage.get_baggage("tenant")))
        yield step.run_workflow(kid)

    main = engine.workflow(as_workflow(body))
    token = context.attach(baggage.set_baggage("tenant", "t1"))
    try:
        run_id = engine.ow.run_workflow("main").id
    finally:
        context.detach(token)
    assert main is not None
    engine.execute_once(run_id)
    child = engine.steps(run_id)[-1]["child_workflow_run_id"]
    engine.finish(child)
    engine.finish(run_id)
    assert seen == ["t1", "t1"]
    parents, kids = spans.named("workflow_run.execute")[0], spans.named("workflow_run.create")[1]
    assert is_child(kids, parents)
    assert attributes(kids)["parent.run.id"] == run_id
    assert attributes(kids)["run.id"] == child
    assert context_of(child) == {
        "traceContext": {"traceparent": traceparent(kids), "baggage": "tenant=t1"}
    }


@sync_and_async
def test_an_error_is_recorded_in_the_span_of_the_attempt_and_fails_that_of_the_execution(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow, calls: Calls
) -> None:
    def body(step: Any) -> Any:
        yield step.run("charge", calls("charge", ValueError("no funds")), retry=ONCE)

    engine.workflow(as_workflow(body))
    engine.finish(engine.start())
    step, run = spans.one("step_attempt.execute"), spans.one("workflow_run.execute")
    for span in (step, run):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "no funds"
        assert attributes(span)["error.type"] == "ValueError"
        assert attributes(span)["step.name"] == "charge"
    assert [event.name for event in step.events] == ["exception"]
    assert run.events == ()
    assert attributes(run)["execution.outcome"] == "failed"


def test_each_attempt_has_a_span(engine: Engine, spans: Spans, calls: Calls) -> None:
    charge = calls("charge", ValueError("not yet"), "done")

    @engine.workflow
    def main(step: Step) -> None:
        step.run("charge", charge, retry=LATER)

    engine.finish(engine.start())
    failed, succeeded = spans.named("step_attempt.execute")
    waiting, ended = spans.named("workflow_run.execute")
    assert failed.status.status_code is StatusCode.ERROR
    assert succeeded.status.status_code is StatusCode.UNSET
    assert attributes(waiting)["execution.outcome"] == "retrying"
    assert attributes(waiting)["step.name"] == "charge"
    assert waiting.status.status_code is StatusCode.ERROR
    assert attributes(ended)["execution.outcome"] == "completed"
    assert ended.status.status_code is StatusCode.UNSET


@sync_and_async
def test_an_error_of_the_workflow_function_is_recorded_once(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        yield step.run("fine", lambda: None)
        raise LookupError("no such order")

    engine.workflow(as_workflow(body), retry=LATER)
    run_id = engine.start()
    engine.execute_once(run_id)
    run = spans.one("workflow_run.execute")
    (event,) = run.events
    assert (event.attributes or {})["exception.type"] == "LookupError"
    assert "no such order" in str((event.attributes or {})["exception.stacktrace"])
    assert attributes(run)["error.type"] == "LookupError"
    assert attributes(run)["execution.outcome"] == "retrying"
    assert "step.name" not in attributes(run)
    engine.finish(run_id)
    assert attributes(spans.named("workflow_run.execute")[1])["execution.outcome"] == "failed"


def test_a_step_that_the_workflow_catches_fails_no_execution(
    engine: Engine, spans: Spans, calls: Calls
) -> None:
    @engine.workflow
    def main(step: Step) -> str:
        try:
            step.run("charge", calls("charge", ValueError("no funds")), retry=ONCE)
        except StepFailed:
            return "paid in cash"
        return "paid"

    engine.finish(engine.start())
    assert spans.one("step_attempt.execute").status.status_code is StatusCode.ERROR
    assert spans.one("workflow_run.execute").status.status_code is StatusCode.UNSET


def test_a_deadline_fails_the_execution(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        step.run("expire", lambda: None)
        step.run("late", lambda: None)

    run_id = engine.start()
    past = f"""UPDATE "{engine.schema}".workflow_runs SET deadline_at = created_at"""
    engine.conn.execute(past)
    engine.execute_once(run_id)
    run = spans.one("workflow_run.execute")
    assert attributes(run)["execution.outcome"] == "failed"
    assert run.status.description == "Workflow run deadline exceeded"
    assert [event.name for event in run.events] == ["exception"]


def test_a_run_that_waits_for_a_signal_names_the_wait(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        step.wait_for_signal("paid", name="payment", timeout=timedelta(hours=1))

    engine.execute_once(engine.start())
    found = attributes(spans.one("workflow_run.execute"))
    assert found["execution.outcome"] == "suspended"
    assert found["step.name"] == "payment"
    assert found["step.kind"] == "signal-wait"
    assert found["signal.name"] == "paid"
    assert found["step.timeout_at"].endswith("Z")


def test_an_execution_whose_claim_is_lost_is_stale(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        step.run("cancel", cancel)
        step.run("after", lambda: None)

    def cancel() -> None:
        engine.conn.execute(f"""UPDATE "{engine.schema}".workflow_runs SET status = 'canceled'""")

    assert engine.execute_once(engine.start()).outcome == "lost"
    run = spans.one("workflow_run.execute")
    assert attributes(run)["execution.outcome"] == "stale"
    assert run.status.status_code is StatusCode.UNSET


def test_a_released_run_is_suspended(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        step.run("stop", engine.services.stopping.set)
        step.run("after", lambda: None)

    assert engine.execute_once(engine.start()).outcome == "released"
    run = spans.one("workflow_run.execute")
    assert attributes(run)["execution.outcome"] == "suspended"
    assert run.status.status_code is StatusCode.UNSET


def test_a_run_that_continues_as_new_hands_its_origin_on(
    engine: Engine, spans: Spans, context_of: Contexts
) -> None:
    @engine.workflow
    def main(step: Step, input: int) -> None:
        if input:
            step.continue_as_new(input - 1)

    run_id = main.run(1).id
    engine.execute_once(run_id)
    successor = context_of(run_id)["continuedAs"]
    engine.finish(successor)
    created, (first, second) = spans.one("workflow_run.create"), spans.named("workflow_run.execute")
    assert [attributes(each)["execution.outcome"] for each in (first, second)] == ["completed"] * 2
    assert [each.links[0].context.span_id for each in (first, second)] == [
        created.context.span_id
    ] * 2


@pytest.mark.parametrize(
    "stored",
    [
        '{"traceContext": null}',
        '{"traceContext": "00-1-2-3"}',
        '{"traceContext": ["traceparent"]}',
        '{"traceContext": {"traceparent": 7}}',
        '{"traceContext": {"traceparent": "00-zz-zz-01"}}',
        '{"other": {}}',
        "[]",
        '"text"',
    ],
)
def test_what_is_no_carrier_is_ignored(engine: Engine, spans: Spans, stored: str) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        pass

    run_id = engine.start()
    query = f"""UPDATE "{engine.schema}".workflow_runs SET context = $1::jsonb"""
    engine.conn.execute(query, [stored])
    assert engine.finish(run_id)["status"] == "completed"
    run = spans.one("workflow_run.execute")
    assert run.links == ()
    assert run.parent is None


@sync_and_async
def test_a_provider_that_fails_changes_no_run(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    as_workflow: AsWorkflow,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(trace.TracerProvider):
        def get_tracer(self, *args: Any, **options: Any) -> trace.Tracer:
            raise RuntimeError("no tracer today")

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Broken())

    def body(step: Any) -> Any:
        result = yield step.run("one", lambda: 1)
        yield step.send_signal("nobody")
        return result

    engine.workflow(as_workflow(body))
    assert engine.finish(engine.ow.run_workflow("main").id)["output"] == 1
    assert "no tracer today" in caplog.text


def test_owsuper_can_be_excluded_by_name(
    engine: Engine, spans: Spans, monkeypatch: pytest.MonkeyPatch, context_of: Contexts
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "flask, owsuper")

    @engine.workflow
    def main(step: Step) -> None:
        step.run("one", lambda: None)

    run_id = main.run().id
    engine.finish(run_id)
    assert spans.names == []
    assert context_of(run_id) is None


@sync_and_async
def test_a_step_in_a_transaction_has_a_span(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow
) -> None:
    def pay(connection: Any) -> str:
        with spans.tracer.start_as_current_span("query"):
            connection.execute("SELECT 1")
        return "paid"

    def refuse(connection: Any) -> None:
        raise ValueError("no funds")

    def body(step: Any) -> Any:
        yield step.transaction("pay", pay)
        yield step.transaction("refuse", refuse, retry=ONCE)

    engine.workflow(as_workflow(body))
    engine.finish(engine.start())
    assert is_child(spans.one("query"), spans.named("step_attempt.execute")[0])
    paid, refused = spans.named("step_attempt.execute")
    assert paid.status.status_code is StatusCode.UNSET
    assert attributes(refused)["error.type"] == "ValueError"


def test_an_attempt_that_times_out_has_failed(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    async def main(step: AsyncStep) -> None:
        await step.run("wait", asyncio.Event().wait, timeout="10ms", retry=ONCE)

    engine.finish(engine.start())
    assert attributes(spans.one("step_attempt.execute"))["error.type"] == "StepTimedOut"
    assert attributes(spans.one("workflow_run.execute"))["error.type"] == "StepTimedOut"


def test_a_run_that_another_worker_owns_by_now_is_stale(engine: Engine, spans: Spans) -> None:
    @engine.workflow
    def main(step: Step) -> None:
        step.sleep("nap", "1h")

    run_id = engine.start()
    engine.execute_once(run_id)
    spans.clear()
    claim = engine.claim(run_id)
    engine.conn.execute(f"""UPDATE "{engine.schema}".workflow_runs SET worker_id = 'another'""")
    assert engine.execute_once(run_id, claim).outcome == "lost"
    assert attributes(spans.one("workflow_run.execute"))["execution.outcome"] == "stale"


def test_code_that_is_cancelled_ends_its_spans(
    engine: Engine, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    @engine.workflow
    async def main(step: AsyncStep) -> None:
        await asyncio.gather(step.run("one", wait), step.run("two", wait))

    async def wait() -> None:
        (execution,) = engine.executor.executions.values()
        execution.abandon()
        await asyncio.Event().wait()

    assert engine.execute_once(engine.start()).outcome == "lost"
    assert spans.names[-1] == "workflow_run.execute"
    assert spans.names[:-1].count("step_attempt.execute") in (1, 2)
    assert "detach" not in caplog.text


@sync_and_async
def test_an_error_of_the_engine_is_recorded_and_the_run_is_tried_again(
    engine: Engine,
    spans: Spans,
    as_workflow: AsWorkflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body(step: Any) -> Any:
        yield step.send_signal("paid")

    def fail(*_: Any) -> None:
        raise OSError("no descriptor is left")

    engine.workflow(as_workflow(body))
    monkeypatch.setattr(engine.services.related_runs, "send", fail)
    engine.execute_once(engine.start())
    run = spans.one("workflow_run.execute")
    assert attributes(run)["execution.outcome"] == "retrying"
    assert attributes(run)["error.type"] == "OSError"
    assert run.status.status_code is StatusCode.ERROR


@sync_and_async
def test_after_an_error_of_the_engine_no_span_is_left_open(
    engine: Engine, spans: Spans, as_workflow: AsWorkflow
) -> None:
    """The engine fails just before the function of a step is called."""

    def broken(*_: object) -> None:
        engine.services.running_rows.began = began
        raise AssertionError("a bug")

    def body(step: Any) -> Any:
        yield step.run("one", lambda: None)

    began = engine.services.running_rows.began
    engine.services.running_rows.began = broken
    engine.workflow(as_workflow(body))
    engine.execute_once(engine.start())
    assert spans.names == ["workflow_run.execute"]
    assert attributes(spans.one("workflow_run.execute"))["error.type"] == "AssertionError"


def test_a_child_run_that_another_implementation_has_not_started_gets_a_span(
    engine: Engine, spans: Spans, context_of: Contexts
) -> None:
    @engine.ow.workflow
    def kid(step: Step) -> None:
        pass

    @engine.workflow
    def main(step: Step) -> None:
        step.run_workflow(kid)

    run_id = engine.start()
    engine.conn.execute(
        f"""INSERT INTO "{engine.schema}".step_attempts (namespace_id, id, workflow_run_id,
            step_name, kind, status, config, context, started_at, created_at, updated_at)
        VALUES ('default', 'a', $1, 'kid', 'workflow', 'running', '{{}}',
            '{{"kind": "workflow", "timeoutAt": null}}', now(), now(), now())""",
        [run_id],
    )
    engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET attempts = 1')
    engine.execute_once(run_id)
    child = engine.steps(run_id)[0]["child_workflow_run_id"]
    created = spans.one("workflow_run.create")
    assert context_of(child) == {"traceContext": {"traceparent": traceparent(created)}}
