"""The step attempts that an execution has recorded and not yet sent to the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from owsuper.core.model import StepKind, StepStatus, StepWrite


class RecordedWrites:
    """Step attempts in the order in which they were recorded. The caller guards it."""

    def __init__(self) -> None:
        self._writes: list[StepWrite] = []

    def __bool__(self) -> bool:
        return bool(self._writes)

    def add(self, write: StepWrite) -> None:
        """Record ``write``."""
        self._writes.append(write)

    def put_back(self, writes: Sequence[StepWrite]) -> None:
        """Record again, before all others, what could not be written."""
        self._writes[:0] = writes

    def has(self, write: StepWrite) -> bool:
        """Whether this very ``write`` is recorded."""
        return any(each is write for each in self._writes)

    def must_be_durable(self) -> bool:
        """Whether a write must become durable before the next step begins.

        The end of a sleep need not be durable: if that write is lost, the sleep is still over.
        """
        for write in self._writes:  # a loop, because every step calls this
            if write.kind != StepKind.SLEEP or write.status == StepStatus.RUNNING:
                return True
        return False

    def take(self) -> tuple[StepWrite, ...]:
        """Return and forget all writes, one for each attempt."""
        # A wait may begin and end before it is written. The later write is the whole row, except
        # for the child run that the earlier write starts.
        rows: dict[str, StepWrite] = {}
        for write in self._writes:
            before = rows.get(write.attempt_id)
            child = before.child if before is not None else None
            rows[write.attempt_id] = write if child is None else replace(write, child=child)
        self._writes = []
        return tuple(rows.values())
