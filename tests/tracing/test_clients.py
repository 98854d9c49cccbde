"""The spans of a client's calls, and the carriers that are stored with runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from owsuper import OpenWorkflow
from owsuper.errors import RunExists, RunNotFound
from tests.tracing.conftest import Contexts, Spans, attributes, is_child, traceparent

Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls a method, or its awaitable twin."""

    def call(owner: Any, name: str, *args: Any, **options: Any) -> Any:
        if request.param == "sync":
            return getattr(owner, name)(*args, **options)

        async def main() -> Any:
            return await getattr(owner, f"a{name}")(*args, **options)

        return asyncio.run(main())

    return call


def carrier(span: Any) -> dict[str, Any]:
    return {"traceContext": {"traceparent": traceparent(span)}}


def test_a_start_stores_the_span_that_made_it(
    ow: OpenWorkflow, spans: Spans, ask: Ask, context_of: Contexts
) -> None:
    with spans.tracer.start_as_current_span("request"):
        run_id = ask(ow, "run_workflow", "order", version="2").id
    created = spans.one("workflow_run.create")
    assert is_child(created, spans.one("request"))
    assert created.kind is SpanKind.PRODUCER
    assert attributes(created) == {
        "workflow.name": "order",
        "workflow.version": "2",
        "run.id": run_id,
        "namespace.id": "default",
    }
    assert context_of(run_id) == carrier(created)


def test_runs_that_share_a_commit_keep_their_own_spans(
    ow: OpenWorkflow, spans: Spans, context_of: Contexts
) -> None:
    def start(number: int) -> str:
        with spans.tracer.start_as_current_span(f"request {number}"):
            return ow.run_workflow("order").id

    with ThreadPoolExecutor(8) as pool:
        run_ids = list(pool.map(start, range(40)))

    async def astart(number: int) -> str:
        with spans.tracer.start_as_current_span(f"request {number}"):
            return (await ow.arun_workflow("order")).id

    async def main() -> list[str]:
        return await asyncio.gather(*map(astart, range(40, 80)))

    run_ids += asyncio.run(main())
    created = {attributes(each)["run.id"]: each for each in spans.named("workflow_run.create")}
    for number, run_id in enumerate(run_ids):
        assert is_child(created[run_id], spans.one(f"request {number}"))
        assert context_of(run_id) == carrier(created[run_id])


def test_many_runs_have_a_span_each(
    ow: OpenWorkflow, spans: Spans, ask: Ask, context_of: Contexts
) -> None:
    with spans.tracer.start_as_current_span("request"):
        handles = ask(ow, "run_many", "order", [1, 2, 3])
    created = spans.named("workflow_run.create")
    assert [attributes(each)["run.id"] for each in created] == [each.id for each in handles]
    assert [context_of(each.id) for each in handles] == [carrier(each) for each in created]
    assert all(is_child(each, spans.one("request")) for each in created)


def test_a_run_that_was_found_by_its_key_keeps_its_span(
    ow: OpenWorkflow, spans: Spans, context_of: Contexts
) -> None:
    first = ow.run_workflow("order", idempotency_key="k").id
    assert ow.run_workflow("order", idempotency_key="k").id == first
    one, two = spans.named("workflow_run.create")
    assert [attributes(each)["run.id"] for each in (one, two)] == [first, first]
    assert context_of(first) == carrier(one)


@pytest.mark.parametrize("library", ["psycopg", "sqlalchemy"])
def test_a_start_in_the_callers_transaction_stores_its_span(
    ow: OpenWorkflow, spans: Spans, database_url: str, context_of: Contexts, library: str
) -> None:
    def start(connection: object) -> list[str]:
        one = ow.run_workflow("order", connection=connection)
        return [one.id, *(each.id for each in ow.run_many("order", [1, 2], connection=connection))]

    if library == "psycopg":
        with psycopg.connect(database_url) as connection:
            run_ids = start(connection)
    else:
        sqlalchemy = pytest.importorskip("sqlalchemy")
        url = database_url.replace("postgresql://", "postgresql+psycopg://")
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            run_ids = start(connection)
        engine.dispose()
    created = spans.named("workflow_run.create")
    assert [context_of(each) for each in run_ids] == [carrier(each) for each in created]


def test_a_start_that_fails_is_recorded(ow: OpenWorkflow, spans: Spans, ask: Ask) -> None:
    ow.run_workflow("order", id="chosen")
    spans.clear()
    with pytest.raises(RunExists):
        ask(ow, "run_workflow", "another", id="chosen")
    created = spans.one("workflow_run.create")
    assert created.status.status_code is StatusCode.ERROR
    assert attributes(created)["error.type"] == "RunExists"
    assert [event.name for event in created.events] == ["exception"]


def test_a_run_that_repeats_another_has_its_own_span(
    ow: OpenWorkflow,
    spans: Spans,
    ask: Ask,
    context_of: Contexts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = ow.run_workflow("order", version="2")
    first.cancel()
    original = spans.one("workflow_run.create")
    spans.clear()
    repeated = ask(ow.get_run(first.id), "rerun").id
    created = spans.one("workflow_run.create")
    assert attributes(created) == {
        "workflow.name": "order",
        "workflow.version": "2",
        "run.id": repeated,
        "namespace.id": "default",
    }
    assert context_of(repeated) == {**carrier(created), "rerunOf": first.id}
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    untraced = ask(ow.get_run(first.id), "rerun").id
    assert context_of(untraced) == {**carrier(original), "rerunOf": first.id}


@pytest.mark.parametrize("joined", [False, True])
def test_canceling_a_run_links_to_its_start(
    ow: OpenWorkflow, spans: Spans, database_url: str, joined: bool
) -> None:
    handle = ow.run_workflow("order", version="2")
    created = spans.one("workflow_run.create")
    with spans.tracer.start_as_current_span("request"):
        if joined:
            with psycopg.connect(database_url) as connection:
                handle.cancel(connection=connection)
        else:
            handle.cancel(children=True)
    canceled = spans.one("workflow_run.cancel")
    assert is_child(canceled, spans.one("request"))
    assert canceled.kind is SpanKind.INTERNAL
    assert [link.context.span_id for link in canceled.links] == [created.context.span_id]
    assert attributes(canceled) == {
        "workflow.name": "order",
        "workflow.version": "2",
        "run.id": handle.id,
        "namespace.id": "default",
    }


def test_a_run_that_cannot_be_canceled(ow: OpenWorkflow, spans: Spans, ask: Ask) -> None:
    with pytest.raises(RunNotFound):
        ask(ow.get_run("nobody"), "cancel")
    canceled = spans.one("workflow_run.cancel")
    assert attributes(canceled) == {"run.id": "nobody", "error.type": "RunNotFound"}
    assert canceled.status.status_code is StatusCode.ERROR


def test_signals(ow: OpenWorkflow, spans: Spans, ask: Ask) -> None:
    with spans.tracer.start_as_current_span("request"):
        ask(ow, "send_signal", "paid", {"amount": 3})
    sent = spans.one("signal.send")
    assert is_child(sent, spans.one("request"))
    assert sent.kind is SpanKind.PRODUCER
    assert attributes(sent) == {"signal.name": "paid", "signal.recipient_count": 0}


def test_the_context_is_shown_with_the_run(ow: OpenWorkflow, spans: Spans) -> None:
    handle = ow.run_workflow("order")
    assert handle.status() == "pending"
    assert spans.names == ["workflow_run.create"]  # looking makes no span


def test_a_sampled_out_span_is_stored_too(
    ow: OpenWorkflow, monkeypatch: pytest.MonkeyPatch, context_of: Contexts
) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF))
    stored = context_of(ow.run_workflow("order").id)
    assert stored["traceContext"]["traceparent"].startswith("00-")
    assert int(stored["traceContext"]["traceparent"][-2:], 16) & 1 == 0
