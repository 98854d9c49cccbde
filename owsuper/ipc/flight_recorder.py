"""The flight recorder: what a child process held and executed, for those who outlive others.

A small piece of shared memory with two records for each slot. They are plain memory, so writing
one costs no system call.

- The child writes the names of the steps in flight. The supervisor reads them once the child is
  dead.
- The supervisor writes the claim that it assigns to the slot. The template reads the claims once
  the supervisor is dead, to know which claims no child can hold.

A record is a length and a text.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from typing import Final

_RECORD: Final = 256  # two bytes of length, then UTF-8
_TEXT_MAX: Final = _RECORD - 2


def create(slots: int) -> int:
    """Return a descriptor of shared memory for ``slots`` slots; the caller closes it.

    Raises OSError if this process can have no more descriptors.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("owsuper-flight")
    else:  # macOS: an unlinked file serves as shared memory
        fd, path = tempfile.mkstemp(prefix="owsuper-flight")
        os.unlink(path)  # noqa: PTH108 -- mkstemp gives a str
    try:
        os.ftruncate(fd, 2 * slots * _RECORD)
    except OSError:
        os.close(fd)
        raise
    return fd


def read_claims(fd: int) -> list[str]:
    """Return the worker ids of the last claims that were assigned to the slots."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    claims = data[len(data) // 2 :]
    texts = [_text(claims[start : start + _RECORD]) for start in range(0, len(claims), _RECORD)]
    return [text for text in texts if text]


class FlightRecorder:
    """The records in the shared memory ``fd``. The caller may close ``fd`` at once.

    All threads of one process may write; a sync slot may have parallel steps.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self._slots = slots
        self._memory = mmap.mmap(fd, 2 * slots * _RECORD)
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
        return _text(self._memory[slot * _RECORD : (slot + 1) * _RECORD]) or None

    def assign(self, slot: int, worker_id: str) -> None:
        """Record the claim that is assigned to ``slot``. Call this before the child gets it.

        Raises ValueError if the worker id has more than 254 bytes.
        """
        text = worker_id.encode()
        if len(text) > _TEXT_MAX:
            raise ValueError(f"A worker id has at most {_TEXT_MAX} bytes, not {len(text)}.")
        start = (self._slots + slot) * _RECORD
        # The length comes last. A supervisor that dies before that has not sent the claim, either.
        self._memory[start : start + 2] = b"\0\0"
        self._memory[start + 2 : start + 2 + len(text)] = text
        self._memory[start : start + 2] = len(text).to_bytes(2, "little")

    def detach(self) -> None:
        """Record for nobody from here on, in a fork of the process that records."""
        self._memory = mmap.mmap(-1, len(self._memory))
        self._lock = threading.Lock()  # a thread that this process does not have may hold it

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()

    def _write(self, slot: int) -> None:
        names = ", ".join(self._steps[slot]).encode("utf-8", "replace")[:_TEXT_MAX]
        record = len(names).to_bytes(2, "little") + names
        self._memory[slot * _RECORD : slot * _RECORD + len(record)] = record


def _text(record: bytes) -> str:
    return record[2 : 2 + int.from_bytes(record[:2], "little")].decode("utf-8", "replace")
