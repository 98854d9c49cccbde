"""Runs to start, and the parameters of the statements that start them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from owsuper.ids import new_id

KEY_LIFETIME: Final = 86_400.0
"""Seconds for which an idempotency key stands for its run, in every implementation."""

# Limits of one statement. More runs would only need more memory; a parameter holds 1 GB at most.
_CHUNK_RUNS: Final = 2000
_CHUNK_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """What becomes of a start while ``amount`` runs of ``key`` have not ended, by ``policy``.

    The policies are those of ``Concurrency``, other than "queue". ``delay`` is in seconds.
    """

    limit: str
    key: str
    amount: int
    policy: str
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to start.

    ``input_json`` is encoded JSON; None and ``b"null"`` are stored as SQL NULL. ``key_lifetime`` is
    in seconds. Times are aware. Without ``available_at``, the run is due at once, by the database's
    clock. ``config`` holds its options, or is None. With ``has_chosen_id``, a run with this ``id``
    may exist.
    """

    workflow_name: str
    version: str | None = None
    input_json: bytes | None = None
    idempotency_key: str | None = None
    key_lifetime: float = KEY_LIFETIME
    available_at: datetime | None = None
    deadline_at: datetime | None = None
    context: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    attributes: dict[str, str] | None = None
    id: str = field(default_factory=new_id)
    has_chosen_id: bool = False
    conflict: Conflict | None = None

    @property
    def may_exist(self) -> bool:
        """Whether starting this run may find an older one in its place."""
        keyed = self.has_chosen_id or self.idempotency_key is not None
        return keyed or self.conflict is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A run to start that repeats another.

    It has the input of that, or ``input_json``, as in NewRun, if ``has_other_input``. Without a
    ``context``, it has the trace carrier of that.
    """

    has_other_input: bool = False
    input_json: bytes | None = None
    context: dict[str, Any] | None = None
    id: str = field(default_factory=new_id)


def chunks(new: Sequence[NewRun]) -> Iterator[list[NewRun]]:
    """Yield the runs for one statement after the other."""
    chunk: list[NewRun] = []
    size = 0
    for each in new:
        added = len(each.input_json or b"")
        if chunk and (len(chunk) == _CHUNK_RUNS or size + added > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += added
    if chunk:
        yield chunk


def _context(new: NewRun) -> dict[str, Any] | None:
    """Return the context to store: a key that lasts longer keeps its run (see prune_find)."""
    if new.key_lifetime <= KEY_LIFETIME:
        return new.context
    return {**(new.context or {}), "keyLifetime": new.key_lifetime}


def document(new: Sequence[NewRun]) -> str:
    """Return the runs as a JSON array, a parameter of the statements that start runs."""
    documents: list[dict[str, Any]] = [
        {
            "id": each.id,
            "name": each.workflow_name,
            "version": each.version,
            "key": each.idempotency_key,
            "context": _context(each),
            "input": None if each.input_json is None else orjson.Fragment(each.input_json),
            "available": each.available_at,
            "deadline": each.deadline_at,
        }
        for each in new
    ]
    for each, run in zip(new, documents, strict=True):
        if each.config is not None:
            run["config"] = each.config
        if each.attributes:
            run["attributes"] = each.attributes
    return orjson.dumps(documents).decode()
