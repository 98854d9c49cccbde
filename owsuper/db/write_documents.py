"""Write sets as the JSON documents that the commit statements take."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from owsuper.core.model import (
    Complete,
    ContinueAsNew,
    Fail,
    NewChildRun,
    Outcome,
    Park,
    Release,
    Retry,
    StepKind,
    StepStatus,
    StepWrite,
    WriteSet,
)

Document: TypeAlias = dict[str, Any]


def claims(writes: Sequence[WriteSet]) -> dict[str, Document]:
    """Return one document per claim. Parallel steps give a claim several write sets."""
    claims: dict[str, Document] = {}
    for write in writes:
        claim = claims.setdefault(write.worker_id, {"worker": write.worker_id, "run": write.run_id})
        if write.outcome is not None:
            claim.update(_outcome(write.outcome), first=write.first)
    return claims


def _outcome(outcome: Outcome) -> Document:
    match outcome:
        case Complete(output_json):
            return {"outcome": "complete", "output": _raw(output_json)}
        case Park(until, awaits):
            return {"outcome": "park", "at": until, "awaits": awaits}
        case Retry(at, error, counts):
            return {"outcome": "retry", "at": at, "error": error.to_json(), "counts": counts}
        case Fail(error):
            return {"outcome": "fail", "error": error}
        case Release():
            return {"outcome": "release"}
        case ContinueAsNew():
            return {"outcome": "complete", "output": None}


def _step(worker_id: str, step: StepWrite) -> Document:
    return {
        "id": step.attempt_id,
        "worker": worker_id,
        "name": step.step_name,
        "kind": step.kind,
        "status": step.status,
        "context": step.context,
        "output": _raw(step.output_json),
        "error": None if step.error is None else step.error.to_json(),
        "started": step.started_at,
        "finished": step.finished_at,
        "child": None if step.child is None else child_document(step.child),
    }


def child_document(child: NewChildRun) -> Document:
    """Return the document of a child run."""
    document: Document = {
        "id": child.run_id,
        "name": child.workflow_name,
        "version": child.version,
        "input": _raw(child.input_json),
    }
    if child.context is not None:
        document["context"] = child.context
    if child.config is not None:
        document["config"] = child.config
    return document


def successors(writes: Sequence[WriteSet]) -> dict[str, ContinueAsNew]:
    """Return the outcomes of claims whose runs continue as new, by worker id."""
    return {
        write.worker_id: write.outcome
        for write in writes
        if isinstance(write.outcome, ContinueAsNew)
    }


def may_touch_other_runs(write: WriteSet) -> bool:
    """Return whether the write set may touch rows of other runs."""
    return isinstance(write.outcome, Park) or any(
        step.child is not None or _begins_wait(step) or _times_out(step) for step in write.steps
    )


def _begins_wait(step: StepWrite) -> bool:
    return step.kind == StepKind.SIGNAL_WAIT and step.status == StepStatus.RUNNING


def awaited_signals(writes: Sequence[WriteSet]) -> bytes | None:
    """Return the signals for which these writes begin a wait, as JSON; None if there are none."""
    steps = [step for write in writes for step in write.steps if _begins_wait(step)]
    signals = sorted({step.context["signal"] for step in steps if step.context})
    return orjson.dumps(signals) if signals else None


def earlier_waits(writes: Sequence[WriteSet]) -> list[str]:
    """Return the ids of earlier signal waits that these writes park on or time out."""
    held = {step.attempt_id for write in writes for step in write.steps if _times_out(step)} | {
        wait
        for write in writes
        if isinstance(write.outcome, Park)
        for wait in write.outcome.signals
    }
    begun = {step.attempt_id for write in writes for step in write.steps if _begins_wait(step)}
    return sorted(held - begun)


def has_attributes(write: WriteSet) -> bool:
    """Return whether the write set changes attributes, or starts a child run that has some."""
    return any(
        step.attributes or (step.child is not None and step.child.attributes)
        for step in write.steps
    )


def attributes(
    writes: Sequence[WriteSet], held: Container[str], *, run_id: str | None = None
) -> bytes | None:
    """Return the attributes that the claims in ``held`` store, as JSON; None if there are none.

    With a ``run_id``, those of that run in place of their own, and none of child runs.
    """
    documents: list[Document] = []
    changes: dict[str, dict[str, str | None]] = {}
    for write in writes:
        if write.worker_id not in held:
            continue
        for step in write.steps:
            if step.attributes:
                changes.setdefault(run_id or write.run_id, {}).update(step.attributes)
            if step.child is not None and run_id is None:
                documents += new_attributes(step.child)
    for run, changed in changes.items():
        documents += attribute_changes(run, changed)
    return orjson.dumps(documents) if documents else None


def attribute_changes(run_id: str, changes: Mapping[str, str | None]) -> list[Document]:
    """Return the documents of ``set_attributes`` for changes of a run."""
    return [{"run": run_id, "name": name, "value": value} for name, value in changes.items()]


def new_attributes(child: NewChildRun) -> list[Document]:
    """Return the documents for the attributes of a child run, if this transaction starts it."""
    changes = attribute_changes(child.run_id, child.attributes or {})
    return [{**each, "new": True} for each in changes]


def _times_out(step: StepWrite) -> bool:
    return (
        step.kind == StepKind.SIGNAL_WAIT
        and step.status == StepStatus.COMPLETED
        and step.output_json is None
    )


def _raw(json: bytes | None) -> orjson.Fragment | None:
    return None if json is None else orjson.Fragment(json)


def arrays(claims: Mapping[str, Document], writes: Sequence[WriteSet]) -> tuple[bytes, bytes]:
    """Return the two JSON parameters of the commit statements."""
    steps = [
        _step(write.worker_id, step)
        for write in writes
        if write.worker_id in claims
        for step in write.steps
    ]
    return orjson.dumps(list(claims.values())), orjson.dumps(steps)
