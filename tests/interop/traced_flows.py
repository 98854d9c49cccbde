"""What a worker in Python serves that traces its runs, and writes its spans into a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step

ow = OpenWorkflow()


class FileExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path(os.environ["SPANS"]).open("a") as file:
            for span in spans:
                file.write(json.dumps(told(span)) + "\n")
        return SpanExportResult.SUCCESS


def told(span: ReadableSpan) -> dict[str, Any]:
    """A span as peer.mjs tells it."""
    return {
        "name": span.name,
        "kind": span.kind.value,
        "status": [span.status.status_code.value, span.status.description],
        "events": [event.name for event in span.events],
        "trace": f"{span.context.trace_id:032x}",
        "id": f"{span.context.span_id:016x}",
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "links": [
            [f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}"] for link in span.links
        ],
        "attributes": dict(span.attributes or {}),
    }


@ow.on_child_start
def start_tracing() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
    trace.set_tracer_provider(provider)


@ow.workflow("py-greet")
def greet(step: Step, input: dict[str, Any]) -> None:
    step.run("name", input["name"].upper)
    step.sleep("pause", 0.01)


@ow.workflow("py-fail")
def fail(step: Step) -> None:
    raise IndexError("no such thing in TypeScript")


@ow.workflow("py-charge")
async def charge(step: AsyncStep, input: dict[str, Any]) -> None:
    await step.run("reserve", lambda: 1)
    await step.run("charge", refuse, retry=RetryPolicy(maximum_attempts=1))


def refuse() -> None:
    raise IndexError("a bad amount")


@ow.workflow("py-send")
def send(step: Step, input: dict[str, Any]) -> None:
    step.send_signal(input["signal"], input["data"])


@ow.workflow("py-wait")
async def wait(step: AsyncStep, input: dict[str, Any]) -> Any:
    return await step.wait_for_signal(input["signal"], timeout="1h")


@ow.workflow("py-traced")
async def traced(step: AsyncStep, input: dict[str, Any]) -> dict[str, Any]:
    tenant = await step.run("look", look)
    child = await step.run_workflow(input["child"], input) if "child" in input else None
    return {"tenant": tenant, "child": child}


async def look() -> Any:
    with trace.get_tracer("flows").start_as_current_span("own"):
        return baggage.get_baggage("tenant")
