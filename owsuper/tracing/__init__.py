"""Spans of runs and steps, for programs that use OpenTelemetry.

This package is idle until the program itself has imported OpenTelemetry and set a tracer provider.
Only then are its other modules imported, which import OpenTelemetry.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.core.model import ClaimedRun
    from owsuper.tracing.calls import TracedCall
    from owsuper.tracing.execution import ExecutionTrace

_API = "opentelemetry.trace"

_unusable: list[str] = []
"""Why the installed OpenTelemetry cannot be used. It is logged once."""


def begin_execution(run: ClaimedRun, namespace: str) -> ExecutionTrace | None:
    """Begin the span of an execution of ``run``; return None if the program traces nothing."""
    if _API not in sys.modules or not _is_on():
        return None
    from owsuper.tracing import execution

    return execution.begin(run, namespace)


def client_calls() -> type[TracedCall] | None:
    """Return the class of the spans of a client's calls; None if the program traces nothing."""
    if _API not in sys.modules or not _is_on():
        return None
    from owsuper.tracing.calls import TracedCall

    return TracedCall


def _is_on() -> bool:
    """Whether the program has a tracer provider, and has not excluded owsuper."""
    if _unusable:
        return False
    try:
        from owsuper.tracing import spans
    except ImportError as error:
        _unusable.append(str(error))
        logging.getLogger("owsuper").warning(
            "no spans are made: the installed OpenTelemetry cannot be used (%s). Install"
            " owsuper[otel].",
            error,
        )
        return False
    return spans.are_wanted()
