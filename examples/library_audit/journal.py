"""A journal of every execution of a step, written by the steps themselves.

The journal checks the claim that a finished step never runs again, without asking the engine.
Each step appends a line to a file when the step begins and when it ends. Each line is one write,
so lines of several processes never mix. An execution that was killed has begun and not ended.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "LIBRARY_AUDIT_JOURNAL"


@dataclass(frozen=True)
class Entry:
    """``at`` is seconds on the clock that all processes of the machine share."""

    event: str
    step: str
    path: str
    pid: int
    at: float


@dataclass(frozen=True)
class Execution:
    """``ended`` is None while the execution runs, and stays None if the process was killed."""

    step: str
    path: str
    pid: int
    began: float
    ended: float | None


@contextmanager
def execution(step: str, path: str) -> Iterator[None]:
    """Record that ``step`` begins for ``path``, and that it ends or raises."""
    _write("begin", step, path)
    try:
        yield
    finally:
        _write("end", step, path)


def _write(event: str, step: str, path: str) -> None:
    if name := os.environ.get(VARIABLE):
        entry = Entry(event, step, path, os.getpid(), time.monotonic())
        with Path(name).open("ab", buffering=0) as file:
            file.write(json.dumps(asdict(entry)).encode() + b"\n")


class Journal:
    """Reads the journal that other processes write, each time from the end of the last read."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._unfinished = b""  # the line that another process is just writing
        self._executions: list[Execution] = []
        self._open: dict[tuple[str, str, int], int] = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self) -> list[Execution]:
        """Return all executions so far, in the order in which they began."""
        *lines, self._unfinished = (self._unfinished + self._file.read()).split(b"\n")
        for line in lines:
            entry = Entry(**json.loads(line))
            key = (entry.step, entry.path, entry.pid)
            if entry.event == "begin":
                self._open[key] = len(self._executions)
                self._executions.append(Execution(*key, entry.at, None))
            else:
                place = self._open.pop(key)
                began = self._executions[place].began
                self._executions[place] = Execution(*key, began, entry.at)
        return self._executions.copy()
