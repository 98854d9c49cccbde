"""The flight recorder: what a child process held, executed and wrote, for those who outlive it.

A piece of shared memory. It is plain memory, so writing to it costs no system call, and pages that
nobody writes to cost nothing.

- The child writes the names of the steps in flight of each slot, and since when the first of them
  runs. The supervisor reads them once the child is dead.
- The supervisor writes the claim that it assigns to a slot. The template reads the claims once
  the supervisor is dead, to know which claims no child can hold.
- The child writes the step with a time-out that times out first. The supervisor reads it when the
  child does not stop, or is dead.
- The child copies the end of what it writes to standard error.
- ``faulthandler`` writes the stacks of a process that dies of a fatal signal, through the
  descriptor, from ``trace_offset`` on.

A record of a slot is a length and a text, or a MessagePack object. That of the steps in flight
begins with the time.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

_RECORD: Final = 256  # two bytes of length, then UTF-8
_TEXT_MAX: Final = _RECORD - 2
# A time.monotonic() moment and the length of the text that follows; no step, no time.
_STEPS: Final = struct.Struct("<dH")
_NO_STEP: Final = bytes(_STEPS.size)
_STEPS_RECORD: Final = _STEPS.size + _TEXT_MAX
_COUNT: Final = struct.Struct("<Q")  # the bytes that were ever written to standard error
_STDERR: Final = 8192  # bytes that are kept of it
# A hundred threads with a hundred frames each, which are the limits of faulthandler, need more; of
# what it writes, the supervisor keeps less.
_TRACE: Final = 256 * 1024
_TIMED: Final = 4096  # as above; a key has up to 2,000 bytes, and pages are made when written


@dataclass(frozen=True, slots=True)
class StepInTime:
    """A running attempt of the step ``key``, which may take ``timeout`` seconds.

    ``started_at`` is on the database's clock, ``due`` is the time.monotonic() of the time-out.
    """

    attempt_id: str
    key: str
    timeout: float
    started_at: datetime
    due: float


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(StepInTime)


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
        os.ftruncate(fd, _size(slots))
    except OSError:
        os.close(fd)
        raise
    return fd


def read_claims(fd: int, slots: int) -> list[str]:
    """Return the worker ids of the last claims that were assigned to the slots."""
    claims = os.pread(fd, slots * _RECORD, slots * _STEPS_RECORD)
    texts = [_text(claims[start : start + _RECORD]) for start in range(0, len(claims), _RECORD)]
    return [text for text in texts if text]


def read_trace(fd: int, slots: int) -> bytes:
    """Return what faulthandler has written."""
    return os.pread(fd, _TRACE, _size(slots) - _TRACE).partition(b"\0")[0]


class FlightRecorder:
    """The records in the shared memory ``fd``. The caller may close ``fd`` at once.

    All threads of one process may write; a sync slot may have parallel steps.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self._claims = slots * _STEPS_RECORD
        self._timed = self._claims + slots * _RECORD
        self._stderr = self._timed + slots * _TIMED
        self._stderr_count = 0
        self._memory = mmap.mmap(fd, _size(slots))
        self._steps: list[list[tuple[str, float]]] = [[] for _ in range(slots)]
        self._lock = threading.Lock()
        self._stderr_lock = threading.RLock()  # a signal handler may write, too

    # --- steps and claims ----------------------------------------------------------------

    def enter(self, slot: int, step: str) -> None:
        """Record that ``step`` runs in ``slot`` from now on."""
        with self._lock:
            self._steps[slot].append((step, time.monotonic()))
            self._write(slot)

    def leave(self, slot: int, step: str | None = None) -> None:
        """Record that ``step`` of ``slot`` is over; without ``step``, all steps of the slot."""
        with self._lock:
            steps = self._steps[slot]
            if step is None:
                steps.clear()
            else:
                for index, (name, _) in enumerate(steps):
                    if name == step:
                        del steps[index]
                        break
            self._write(slot)

    def read(self, slot: int) -> str | None:
        """Return the names of the steps that run in ``slot``, joined by ``", "``; None if none."""
        start = slot * _STEPS_RECORD + _STEPS.size - 2
        return _text(self._memory[start : start + _RECORD]) or None

    def running_since(self, slot: int) -> float | None:
        """Return the ``time.monotonic`` moment at which the first of these steps began."""
        since, _ = _STEPS.unpack_from(self._memory, slot * _STEPS_RECORD)
        return since or None

    def assign(self, slot: int, worker_id: str) -> None:
        """Record the claim that is assigned to ``slot``. Call this before the child gets it.

        Raises ValueError if the worker id has more than 254 bytes.
        """
        text = worker_id.encode()
        if len(text) > _TEXT_MAX:
            raise ValueError(f"A worker id has at most {_TEXT_MAX} bytes, not {len(text)}.")
        start = self._claims + slot * _RECORD
        # The length comes last. A supervisor that dies before that has not sent the claim, either.
        self._memory[start : start + 2] = b"\0\0"
        self._memory[start + 2 : start + 2 + len(text)] = text
        self._memory[start : start + 2] = len(text).to_bytes(2, "little")

    def _write(self, slot: int) -> None:
        steps = self._steps[slot]
        start = slot * _STEPS_RECORD
        if not steps:
            self._memory[start : start + _STEPS.size] = _NO_STEP
            return
        text = steps[0][0] if len(steps) == 1 else ", ".join([name for name, _ in steps])
        names = text.encode("utf-8", "replace")[:_TEXT_MAX]
        record = _STEPS.pack(steps[0][1], len(names)) + names
        self._memory[start : start + len(record)] = record

    def write_timed(self, slot: int, step: StepInTime | None) -> None:
        """Record the step in ``slot`` that times out first; None if none will."""
        start = self._timed_start(slot)
        self._memory[start : start + 2] = b"\0\0"  # the length comes last, as above
        if step is not None:
            data = _ENCODER.encode(step)
            self._memory[start + 2 : start + 2 + len(data)] = data
            self._memory[start : start + 2] = len(data).to_bytes(2, "little")

    def read_timed(self, slot: int) -> StepInTime | None:
        """Return the step in ``slot`` that times out first; None also while that changes."""
        data = self._timed_data(slot)
        if not data or data != self._timed_data(slot):  # it may be torn, and decodable all the same
            return None
        try:
            return _DECODER.decode(data)
        except (msgspec.DecodeError, ValueError):
            return None

    def _timed_data(self, slot: int) -> bytes:
        start = self._timed_start(slot)
        length = int.from_bytes(self._memory[start : start + 2], "little")
        return self._memory[start + 2 : start + 2 + length]

    def _timed_start(self, slot: int) -> int:
        return self._timed + slot * _TIMED

    # --- standard error and stacks -------------------------------------------------------

    def append_stderr(self, data: bytes) -> None:
        """Record what was written to standard error; the last 8 KiB are kept.

        One process does so.
        """
        kept = data[-_STDERR:]
        with self._stderr_lock:
            ring = self._stderr + _COUNT.size
            self._stderr_count += len(data)
            place = (self._stderr_count - len(kept)) % _STDERR
            if place + len(kept) > _STDERR:
                first, kept = kept[: _STDERR - place], kept[_STDERR - place :]
                self._memory[ring + place : ring + _STDERR] = first
                place = 0
            self._memory[ring + place : ring + place + len(kept)] = kept
            _COUNT.pack_into(self._memory, self._stderr, self._stderr_count)

    def read_stderr(self) -> str | None:
        """Return the last lines that were written to standard error; None if none were."""
        [count] = _COUNT.unpack_from(self._memory, self._stderr)
        ring = self._stderr + _COUNT.size
        data = self._memory[ring : ring + min(count, _STDERR)]
        if count > _STDERR:
            place = count % _STDERR
            data = data[place:] + data[:place]
            torn, _, whole = data.partition(b"\n")
            data = whole or torn  # a torn line is left out, unless there is no other
        return data.decode("utf-8", "replace") or None

    @property
    def trace_offset(self) -> int:
        """Where in the shared memory faulthandler is to write."""
        return self._stderr + _COUNT.size + _STDERR

    def read_trace(self) -> str | None:
        """Return what faulthandler has written; None if nothing."""
        end = self._memory.find(b"\0", self.trace_offset)
        data = self._memory[self.trace_offset : None if end < 0 else end]
        return data.decode("utf-8", "replace") or None

    # --- the end -------------------------------------------------------------------------

    def detach(self) -> None:
        """Record for nobody from here on, in a fork of the process that records."""
        self._memory = mmap.mmap(-1, len(self._memory))
        self._lock = threading.Lock()  # a thread that this process does not have may hold it
        self._stderr_lock = threading.RLock()

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()


def _size(slots: int) -> int:
    return slots * (_STEPS_RECORD + _RECORD + _TIMED) + _COUNT.size + _STDERR + _TRACE


def _text(record: bytes) -> str:
    """Return the text of a record. One that is half written has NULs, which jsonb refuses."""
    text = record[2 : 2 + int.from_bytes(record[:2], "little")].decode("utf-8", "replace")
    return text.replace("\0", "\ufffd")
