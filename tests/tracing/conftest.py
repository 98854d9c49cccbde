"""Spans of the process of a test, collected in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from owsuper import OpenWorkflow
from tests.child.conftest import Engine, calls, engine  # noqa: F401 - fixtures


class Spans:
    """The spans that have ended, in the order of their ends."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def of_step(self, key: str) -> ReadableSpan:
        (span,) = [each for each in self.all if attributes(each).get("step.name") == key]
        return span

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.all]

    def clear(self) -> None:
        self._exporter.clear()

    @property
    def tracer(self) -> trace.Tracer:
        return self.provider.get_tracer("test")


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """The attributes, without the prefix of OpenWorkflow."""
    return {
        name.removeprefix("openworkflow."): value for name, value in (span.attributes or {}).items()
    }


def is_child(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    return inner.parent == outer.context


def traceparent(span: ReadableSpan) -> str:
    assert span.context is not None
    flags = int(span.context.trace_flags)
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{flags:02x}"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Let this process have a tracer provider. OpenTelemetry itself sets one once at most."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield Spans(provider)
    provider.shutdown()


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


Contexts = Callable[[str], Any]


@pytest.fixture
def context_of(conn: psycopg.Connection, schema: str) -> Contexts:
    """The ``context`` that is stored with a run."""

    def read(run_id: str) -> Any:
        query = f'SELECT context FROM "{schema}".workflow_runs WHERE id = $1'
        (context,) = conn.execute(query, [run_id]).fetchone() or (None,)
        return context

    return read
