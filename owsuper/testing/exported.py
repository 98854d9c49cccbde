"""Histories of runs as lines of JSON: what ``owsuper runs export`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

import msgspec

from owsuper.core.model import ChildRunState, DeliveredSignal, RecordedAttempt
from owsuper.db.clients import RunRow
from owsuper.errors import ConfigurationError
from owsuper.testing.replaying import RecordedRun

_FORMAT: Final = 1
_COMMON: Final = [each.name for each in fields(RecordedAttempt) if each.name != "answer"]


@dataclass(frozen=True, slots=True)
class _ExportedAttempt:
    """A step attempt, see ``RecordedAttempt``; its answer is a child run or a signal."""

    id: str
    step_name: str
    kind: str
    status: str
    context: Any
    output: Any
    error: Any
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    child: ChildRunState | None
    signal: DeliveredSignal | None


@dataclass(frozen=True, slots=True)
class _ExportedRun:
    """A run. ``child_inputs`` has the inputs of its child runs as JSON, by their ids."""

    format: int
    run: RunRow
    steps: list[_ExportedAttempt]
    child_inputs: dict[str, str | None] = field(default_factory=dict)


def encode(history: RecordedRun, read_input: Callable[[str], bytes | None]) -> str:
    """Return the line of a history. ``read_input`` returns the input of a child run as JSON."""
    steps, inputs = [], {}
    for attempt in history.attempts:
        child = attempt.answer if isinstance(attempt.answer, ChildRunState) else None
        signal = attempt.answer if isinstance(attempt.answer, DeliveredSignal) else None
        values = {name: getattr(attempt, name) for name in _COMMON}
        steps.append(_ExportedAttempt(**values, child=child, signal=signal))
        if child is not None:
            raw = read_input(child.run_id)
            inputs[child.run_id] = None if raw is None else raw.decode()
    return msgspec.json.encode(_ExportedRun(_FORMAT, history.run, steps, inputs)).decode()


class ExportedHistories:
    """Reads lines that ``encode`` has written, and keeps the inputs of child runs."""

    def __init__(self) -> None:
        self._inputs: dict[str, str | None] = {}

    def read(self, lines: Iterable[str], source: str) -> Iterator[RecordedRun]:
        """Yield the histories of the lines. ``source`` names them in messages.

        Raises ConfigurationError for a line that is no history.
        """
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                read = msgspec.json.decode(line, type=_ExportedRun)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
                raise ConfigurationError(
                    f"{source}, line {number}: this is no history that owsuper runs export has"
                    f" printed: {exc}"
                ) from None
            if read.format != _FORMAT:
                raise ConfigurationError(
                    f"{source}, line {number}: another version of owsuper has exported this (format"
                    f" {read.format}, not {_FORMAT}). Export and replay with the same version."
                )
            self._inputs = read.child_inputs
            yield RecordedRun(read.run, [_attempt(step) for step in read.steps])

    def read_input(self, run_id: str) -> bytes | None:
        """Return the input of a child run of the history that was read last, as JSON."""
        raw = self._inputs.get(run_id)
        return None if raw is None else raw.encode()


def _attempt(step: _ExportedAttempt) -> RecordedAttempt:
    values = {name: getattr(step, name) for name in _COMMON}
    return RecordedAttempt(**values, answer=step.child or step.signal)
