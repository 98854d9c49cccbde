"""Shortages: the system gives a process no more processes, threads, descriptors or memory.

A shortage usually passes, so it is a reason to try again later, and no fault of the code that met
it.
"""

from __future__ import annotations

import errno
from typing import Final

_PROCESSES: Final = (
    "no more processes and threads are allowed here (raise ulimit -u, or the limit of the"
    " container or the service)"
)
THREADS: Final = (
    "no more threads can be started here (raise ulimit -u or ulimit -v, or the limits of processes"
    " and of memory of the container or the service)"
)
_MEMORY: Final = "there is not enough memory"
_BY_ERRNO: Final = {
    errno.EAGAIN: _PROCESSES,
    errno.EMFILE: "this process has no more file descriptors (raise ulimit -n)",
    errno.ENFILE: "this machine has no more file descriptors (raise fs.file-max)",
    errno.ENOMEM: _MEMORY,
    errno.ETOOMANYREFS: "too many file descriptors are in flight (raise ulimit -n)",
}


def explain(error: BaseException) -> str | None:
    """Return what is missing and how to get it; None if ``error`` is no shortage."""
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return _MEMORY
    if is_thread_error(error):
        return THREADS
    return None


def is_thread_error(error: BaseException) -> bool:
    """Whether ``error`` says that no thread can be started; Python has no class for that."""
    return isinstance(error, RuntimeError) and "start new thread" in str(error)


def describe(error: BaseException) -> str:
    """Return a text about ``error`` for the operator, with an explanation if it is a shortage."""
    explanation = explain(error)
    return str(error) if explanation is None else f"{explanation}: {error}"
