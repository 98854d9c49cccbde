"""The spans of a client's calls: starting runs, canceling a run, sending a signal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from opentelemetry.trace import SpanKind

from owsuper.stored_error import StoredError
from owsuper.tracing import spans
from owsuper.tracing.spans import Attributes, TracedOperation, attributes_of_run

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from owsuper.core.carriers import Carrier

    New = TypeVar("New", bound=DataclassInstance)


class TracedCall:
    """The span of a call. What the call raises is recorded."""

    def __init__(self, name: str, kind: SpanKind, attributes: Attributes) -> None:
        self._operation = TracedOperation(name, kind, attributes)

    @classmethod
    def create(cls, workflow_name: str | None) -> TracedCall:
        """Begin to start a run; its workflow may not be known yet."""
        attributes = {} if workflow_name is None else {"openworkflow.workflow.name": workflow_name}
        return cls("workflow_run.create", spans.PRODUCER, attributes)

    @classmethod
    def cancel(cls, run_id: str) -> TracedCall:
        """Begin to cancel a run."""
        attributes = {"openworkflow.run.id": run_id}
        return cls("workflow_run.cancel", spans.INTERNAL, attributes)

    @classmethod
    def send_signal(cls, signal: str) -> TracedCall:
        """Begin to send a signal."""
        return cls("signal.send", spans.PRODUCER, {"openworkflow.signal.name": signal})

    def enter(self) -> None:
        """Make the span the current one of this thread or task, until ``leave``."""
        self._operation.enter()

    def leave(self, exc: BaseException | None) -> None:
        """Make the span current that was so before, and end this one as ``end`` does."""
        self._operation.leave()
        self.end(exc)

    def end(self, exc: BaseException | None) -> None:
        """End the span, after the call has returned or raised ``exc``."""
        if isinstance(exc, Exception):
            self._operation.fail(StoredError.from_exception(exc), exc, event=True)
        self._operation.end()

    def carry(self, new: New) -> New:
        """Return the run to start with the headers of this span in its ``context``."""
        return replace(new, context=self._operation.headers())

    def note_run(self, name: str, run_id: str, namespace: str, version: str | None) -> None:
        """Note which run the call was about."""
        self._operation.set(attributes_of_run(name, run_id, namespace, version))

    def link(self, carrier: Carrier | None) -> None:
        """Link to the span that has started the run."""
        self._operation.link(carrier)

    def note_reached(self, runs: int) -> None:
        """Note how many runs the signal has reached."""
        self._operation.set({"openworkflow.signal.recipient_count": runs})
