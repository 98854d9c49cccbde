"""One span, and the headers that name it, by the program's OpenTelemetry.

An error of a provider, an exporter or a propagator never reaches the caller: it is logged, and
there is no span.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextvars import Token
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from owsuper.core import carriers
from owsuper.core.carriers import Carrier
from owsuper.stored_error import StoredError

Attributes = Mapping[str, str | int]

INTERNAL: Final = SpanKind.INTERNAL
PRODUCER: Final = SpanKind.PRODUCER
CONSUMER: Final = SpanKind.CONSUMER

_TRACER: Final = "openworkflow"
_EXCLUDED: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_NO_PROVIDERS: Final = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)

_log = logging.getLogger("owsuper")
_tracers: dict[object, Tracer] = {}


def are_wanted() -> bool:
    """Whether the program has a tracer provider, and has not excluded owsuper by name."""
    excluded = os.environ.get(_EXCLUDED, "")
    if excluded and "owsuper" in (name.strip() for name in excluded.split(",")):
        return False
    try:
        return not isinstance(trace.get_tracer_provider(), _NO_PROVIDERS)
    except Exception:  # a provider that the environment names cannot be loaded
        _log.debug("there is no tracer provider", exc_info=True)
        return False


def attributes_of_run(
    name: str, run_id: str, namespace: str, version: str | None
) -> dict[str, str | int]:
    """Return the attributes that tell which run a span is about."""
    attributes: dict[str, str | int] = {
        "openworkflow.workflow.name": name,
        "openworkflow.run.id": run_id,
        "openworkflow.namespace.id": namespace,
    }
    if version is not None:
        attributes["openworkflow.workflow.version"] = version
    return attributes


class TracedOperation:
    """A span from its beginning to its end. Any thread may end it."""

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        *,
        parent: Context | None = None,
        link: SpanContext | None = None,
    ) -> None:
        self.span: Span = trace.INVALID_SPAN
        self.context = contexts.get_current() if parent is None else parent
        self._token: Token[Context] | None = None
        links: Sequence[Link] = () if link is None else (Link(link),)
        try:
            self.span = _tracer().start_span(
                name, self.context, kind=kind, attributes=attributes, links=links
            )
            self.context = trace.set_span_in_context(self.span, self.context)
        except Exception:
            _log.warning("a span %s could not begin", name, exc_info=True)

    def enter(self) -> None:
        """Make the span the current one of this thread or task."""
        self._token = contexts.attach(self.context)

    def leave(self) -> None:
        """Make the span current that was so before, in the same thread or task."""
        if self._token is not None:
            contexts.detach(self._token)
            self._token = None

    def headers(self) -> dict[str, Carrier] | None:
        """Return the ``context`` of a run that this span starts; None without any header."""
        headers: dict[str, str] = {}
        try:
            propagate.inject(headers, self.context)
        except Exception:
            _log.warning("a trace could not be stored with a run", exc_info=True)
        return carriers.context_of(headers)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        try:
            for name, value in attributes.items():
                self.span.set_attribute(name, value)
        except Exception:
            _log.warning("an attribute of a span could not be set", exc_info=True)

    def link(self, carrier: Carrier | None) -> None:
        """Link to the span that ``carrier`` names."""
        try:
            if (origin := origin_of(extract(carrier))) is not None:
                self.span.add_link(origin)
        except Exception:
            _log.warning("a span could not be linked", exc_info=True)

    def fail(self, error: StoredError, exc: BaseException | None = None, *, event: bool) -> None:
        """Mark the operation as failed; with ``event``, also record ``exc``, or else ``error``."""
        kind = error.name or "Error"
        try:
            self.span.set_attribute("error.type", kind)
            if event and exc is not None:
                self.span.record_exception(exc)
            elif event:
                details = {"exception.type": kind, "exception.message": error.message}
                self.span.add_event("exception", details)
            self.span.set_status(Status(StatusCode.ERROR, error.message))
        except Exception:
            _log.warning("an error could not be recorded in a span", exc_info=True)

    def end(self) -> None:
        """End the span."""
        try:
            self.span.end()
        except Exception:
            _log.warning("a span could not end", exc_info=True)


def extract(carrier: Carrier | None) -> Context:
    """Return the trace and the baggage that a carrier names, and nothing of this process."""
    if carrier is not None:
        try:
            return propagate.extract(carrier, Context())
        except Exception:
            _log.debug("a carrier could not be read", exc_info=True)
    return Context()


def origin_of(context: Context) -> SpanContext | None:
    """Return the span in ``context``; None if there is none."""
    origin = trace.get_current_span(context).get_span_context()
    return origin if origin.is_valid else None


def without_span(context: Context) -> Context:
    """Return ``context`` for a span that begins a new trace. Baggage stays."""
    return trace.set_span_in_context(trace.INVALID_SPAN, context)


def _tracer() -> Tracer:
    provider: Any = trace.get_tracer_provider()
    tracer = _tracers.get(provider)
    if tracer is None:
        _tracers.clear()
        tracer = _tracers[provider] = provider.get_tracer(_TRACER)
    return tracer
