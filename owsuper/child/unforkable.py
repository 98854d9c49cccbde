"""What importing the application left behind that a fork would break: threads and sockets.

Threads do not survive a fork, but the locks that they hold do. Two processes that share one
connection corrupt the protocol of both.
"""

from __future__ import annotations

import os
import resource
import socket
import stat
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_THREADS: Final = Path("/proc/self/task")
# Where open descriptors cannot be listed. They are numbered from below.
_MOST_DESCRIPTORS: Final = 4096

BLIND: Final = (
    "/proc is not mounted, so threads that libraries started while the application was imported"
    " cannot be seen, and a fork may leave their locks taken. Mount /proc, or set --no-preload."
)


def is_blind() -> bool:
    """Whether threads that Python does not know cannot be seen."""
    return sys.platform == "linux" and not _THREADS.exists()


def count_native_threads() -> int:
    """Return the number of threads of this process that Python does not know, as far as seen."""
    try:
        return len(os.listdir(_THREADS)) - threading.active_count()  # noqa: PTH208 -- faster
    except OSError:  # no /proc
        return 0


def open_sockets() -> frozenset[int]:
    """Return the descriptors of this process that are sockets."""
    found = set()
    for descriptor in _descriptors():
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.add(descriptor)
        except OSError:  # closed, or the descriptor of the listing itself
            continue
    return frozenset(found)


def _descriptors() -> Iterable[int]:
    try:
        return [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:  # no /proc
        return range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MOST_DESCRIPTORS))


def find(before: frozenset[int], started_by: Sequence[str] = ()) -> list[str]:
    """Describe every other thread, and every socket that is not in ``before``.

    ``started_by`` describes the modules that started threads that Python does not know.
    """
    sockets = (_socket(fd) for fd in sorted(open_sockets() - before))
    return [*_threads(), *_native_threads(started_by), *sockets]


def warning(found: Sequence[str]) -> str:
    """Return the warning for the operator about what ``find`` found."""
    return (
        f"Importing the application left behind what cannot be forked: {', '.join(found)}."
        " Every child process imports the application for itself, which takes more memory and"
        f" time. {_openblas_hint()}Open connections and start threads when they are first used, or"
        " set --no-preload."
    )


def _openblas_hint() -> str:
    """Explain the threads of NumPy and SciPy, if their OpenBLAS is loaded."""
    try:
        loaded = "openblas" in Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return ""
    if not loaded or os.environ.get("OPENBLAS_NUM_THREADS") == "1":
        return ""
    return (
        "OpenBLAS, which NumPy and SciPy load, starts one thread for each further processor when"
        " it is imported: set OPENBLAS_NUM_THREADS=1 in the environment of the worker, and it"
        " starts none. "
    )


def _threads() -> list[str]:
    others = [each for each in threading.enumerate() if each is not threading.current_thread()]
    return [f"thread {each.name}" for each in others]


def _native_threads(started_by: Sequence[str]) -> list[str]:
    if (count := count_native_threads()) <= 0:
        return []
    modules = f" (started by {'; '.join(dict.fromkeys(started_by))})" if started_by else ""
    return [f"{count} native thread{'s' if count > 1 else ''}{modules}"]


def _socket(fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as sock:
        try:
            peer = sock.getpeername()
        except OSError:
            return f"an unconnected socket ({sock.family.name})"
    if isinstance(peer, tuple):
        return f"a connection to {peer[0]}:{peer[1]}"
    return f"a connection to {peer!s}" if peer else "a pair of sockets"
