"""Write sets as the JSON documents that the commit statements take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
