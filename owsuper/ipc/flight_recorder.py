"""The flight recorder: shows the steps that a child process was executing when it died.

A small piece of shared memory with one record for each slot. The child writes its records as
plain memory, so recording a step costs no system call. The supervisor creates the memory and
reads the records once the child is dead. A record is a length and the names of the steps, written
in one copy.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from typing import Final

_RECORD: Final = 256  # two bytes of length, then UTF-8
_NAMES_MAX: Final = _RECORD - 2


def create(slots: int) -> int:
    """Return a descriptor of shared memory for ``slots`` records; the caller closes it.

    Raises OSError if this process can have no more descriptors.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("owsuper-flight")
    else:  # macOS: an unlinked file serves as shared memory
        fd, path = tempfile.mkstemp(prefix="owsuper-flight")
        os.unlink(path)  # noqa: PTH108 -- mkstemp gives a str
    try:
        os.ftruncate(fd, slots * _RECORD)
    except OSError:
        os.close(fd)
        raise
    return fd


class FlightRecorder:
    """The records in the shared memory ``fd``. The caller may close ``fd`` at once.

    All threads of one process may write; a sync slot may have parallel steps.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self._memory = mmap.mmap(fd, slots * _RECORD)
        self._steps: list[list[str]] = [[] for _ in range(slots)]
        self._lock = threading.Lock()

    def enter(self, slot: int, step: str) -> None:
        """Record that ``step`` runs in ``slot``."""
        with self._lock:
            self._steps[slot].append(step)
            self._write(slot)

    def leave(self, slot: int, step: str | None = None) -> None:
        """Record that ``step`` of ``slot`` is over; without ``step``, all steps of the slot."""
        with self._lock:
            steps = self._steps[slot]
            if step is None:
                steps.clear()
            elif step in steps:
                steps.remove(step)
            self._write(slot)

    def read(self, slot: int) -> str | None:
        """Return the names of the steps that run in ``slot``, joined by ``", "``; None if none."""
        record = self._memory[slot * _RECORD : (slot + 1) * _RECORD]
        length = int.from_bytes(record[:2], "little")
        return record[2 : 2 + length].decode("utf-8", "replace") or None

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()

    def _write(self, slot: int) -> None:
        names = ", ".join(self._steps[slot]).encode("utf-8", "replace")[:_NAMES_MAX]
        record = len(names).to_bytes(2, "little") + names
        self._memory[slot * _RECORD : slot * _RECORD + len(record)] = record
