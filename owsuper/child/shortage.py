"""What a child cannot get from its own process: threads, descriptors, memory.

A shortage of a moment is waited out. A child whose shortage lasts is replaced, because a new
process starts without what user code has leaked.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

from owsuper.shortage import is_thread_error
from owsuper.stored_error import EngineError

_PATIENCE: Final = 5.0  # seconds of shortage until the child is replaced
_GAP: Final = 3.0  # seconds; failures that lie further apart belong to two shortages
_CONNECT_DESCRIPTORS: Final = 4  # of one attempt to connect: socket, epoll, resolver, certificates
_SPARE_DESCRIPTORS: Final = 2 * _CONNECT_DESCRIPTORS  # for both connections of a child

THREADS: Final = "threads"
DESCRIPTORS: Final = "file descriptors"
MEMORY: Final = "memory"


class NoThread(EngineError):
    """The system gives this process no thread, and the process cannot wait any longer."""

    def __init__(self) -> None:
        super().__init__("this process cannot start a thread")


class Shortage:
    """Watches failed attempts to get something; ``on_lasting`` is called once, in any thread."""

    def __init__(self, on_lasting: Callable[[str], object]) -> None:
        self._on_lasting = on_lasting
        self._lock = threading.Lock()
        self._periods: dict[str, tuple[float, float]] = {}  # time.monotonic(): first, last failure
        self._reported = False

    def failed(self, what: str) -> None:
        """Note that this process could not get ``what``."""
        now = time.monotonic()
        with self._lock:
            first, last = self._periods.get(what, (now, now))
            if now - last > _GAP:
                first = now
            self._periods[what] = (first, now)
            lasting = now - first >= _PATIENCE and not self._reported
            self._reported = self._reported or lasting
        if lasting:
            self._on_lasting(f"it could get no {what} for {_PATIENCE:g} s")

    def ended(self, *what: str) -> None:
        """Note that this process could get ``what``."""
        if self._periods:
            with self._lock:
                for each in what:
                    self._periods.pop(each, None)


def lacking(exc: BaseException) -> str | None:
    """Return what this process lacked when ``exc`` was raised; None if it lacked nothing.

    libpq reports a lack of descriptors as text only, and as an unknown host if the resolver met
    it. So this function tries whether the process can open some.
    """
    each: BaseException | None = exc
    while each is not None:
        if isinstance(each, MemoryError):
            return MEMORY
        if is_thread_error(each):
            return THREADS
        if isinstance(each, OSError) and each.errno == errno.EMFILE:
            return DESCRIPTORS
        each = each.__cause__ or each.__context__
    return None if _can_open_descriptors() else DESCRIPTORS


def _can_open_descriptors() -> bool:
    try:
        with ExitStack() as opened:
            for _ in range(_CONNECT_DESCRIPTORS // 2):
                for end in socket.socketpair():
                    opened.enter_context(end)
    except OSError as exc:
        return exc.errno != errno.EMFILE
    return True


class SpareDescriptors:
    """Descriptors that a child keeps for its last writes, when user code has taken all others."""

    def __init__(self) -> None:
        self._open: list[int] = []
        with suppress(OSError):
            for _ in range(_SPARE_DESCRIPTORS):
                self._open.append(os.open(os.devnull, os.O_RDONLY))

    def free(self) -> None:
        """Close them, so that a connection can be opened."""
        while self._open:
            os.close(self._open.pop())
