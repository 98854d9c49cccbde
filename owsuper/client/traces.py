"""The span of a client's call, if the program uses OpenTelemetry; else nothing.

``start``, ``start_many``, ``cancel`` and ``send_signal`` return context managers. The caller's
thread or task enters them around the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from owsuper import tracing

if TYPE_CHECKING:
    from owsuper.client.session import Session
    from owsuper.db.clients import Canceled
    from owsuper.db.new_runs import NewRun, Rerun
    from owsuper.tracing.calls import TracedCall

    New = TypeVar("New", NewRun, Rerun)


class Traced:
    """A call with its span, or without one."""

    __slots__ = ("_namespace", "_span")

    def __init__(self, session: Session, span: TracedCall | None) -> None:
        self._namespace = session.namespace
        self._span = span

    def __enter__(self) -> Traced:
        if self._span is not None:
            self._span.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._span is not None:
            self._span.leave(exc)

    def carry(self, new: New) -> New:
        """Return the run to start; its ``context`` names the span."""
        return new if self._span is None else self._span.carry(new)

    def started(self, run_id: str, name: str, version: str | None) -> None:
        """Note the run that was started, or found by its key."""
        if self._span is not None:
            self._span.note_run(name, run_id, self._namespace, version)

    def canceled(self, run: Canceled) -> None:
        """Note the run that was canceled."""
        if self._span is not None:
            self._span.note_run(run.workflow_name, run.run_id, self._namespace, run.version)
            self._span.link(run.carrier)

    def reached(self, run_ids: Sequence[str]) -> None:
        """Note the runs that the signal has reached."""
        if self._span is not None:
            self._span.note_reached(len(run_ids))


class TracedMany:
    """A call that starts several runs, with a span for each, or without any.

    None of the spans is the current one.
    """

    __slots__ = ("_namespace", "_spans")

    def __init__(self, session: Session, spans: Sequence[TracedCall]) -> None:
        self._namespace = session.namespace
        self._spans = spans

    def __enter__(self) -> TracedMany:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for span in self._spans:
            span.end(exc)

    def carry(self, new: Sequence[NewRun]) -> Sequence[NewRun]:
        """Return the runs to start; the ``context`` of each names its span."""
        if not self._spans:
            return new
        return [span.carry(each) for span, each in zip(self._spans, new, strict=True)]

    def started(self, new: Sequence[NewRun]) -> None:
        """Note the runs that were started."""
        if self._spans:
            for span, each in zip(self._spans, new, strict=True):
                span.note_run(each.workflow_name, each.id, self._namespace, each.version)


def start(session: Session, workflow_name: str | None) -> Traced:
    """Begin to start a run of a workflow, which may not be known yet."""
    traced = tracing.client_calls()
    return Traced(session, None if traced is None else traced.create(workflow_name))


def start_many(session: Session, new: Sequence[NewRun]) -> TracedMany:
    """Begin to start these runs."""
    traced = tracing.client_calls()
    spans = [] if traced is None else [traced.create(each.workflow_name) for each in new]
    return TracedMany(session, spans)


def cancel(session: Session, run_id: str) -> Traced:
    """Begin to cancel a run."""
    traced = tracing.client_calls()
    return Traced(session, None if traced is None else traced.cancel(run_id))


def send_signal(session: Session, signal: str) -> Traced:
    """Begin to send a signal."""
    traced = tracing.client_calls()
    return Traced(session, None if traced is None else traced.send_signal(signal))
