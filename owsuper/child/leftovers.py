"""What importing an application left running or open that forking would break.

Threads do not survive a fork, but the locks that they hold do; a connection that two
processes share is garbled by both.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def open_sockets() -> frozenset[int]:
    """Descriptors of this process that are sockets."""
    found = set()
    for entry in list(Path("/dev/fd").iterdir()):
        try:
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                found.add(int(entry.name))
        except OSError:  # the descriptor of the listing itself
            continue
    return frozenset(found)


def left_since(before: frozenset[int]) -> list[str]:
    """Every thread but this one, and every socket that was not open ``before``, in words."""
    return [*_threads(), *(_socket(fd) for fd in sorted(open_sockets() - before))]


def warning(left: Sequence[str]) -> str:
    """The sentence for the operator."""
    return (
        f"Importing the application left behind what cannot be forked: {', '.join(left)}."
        " Every child process imports it for itself, which takes more memory and time. Open"
        " connections and start threads when they are first used, or set --no-preload."
    )


def _threads() -> list[str]:
    others = [each for each in threading.enumerate() if each is not threading.current_thread()]
    named = [f"thread {each.name}" for each in others]
    if sys.platform == "linux":
        unknown = len(list(Path("/proc/self/task").iterdir())) - 1 - len(others)
        if unknown > 0:
            named.append(f"{unknown} native thread{'s' if unknown > 1 else ''}")
    return named


def _socket(fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as sock:
        try:
            peer = sock.getpeername()
        except OSError:
            return f"an unconnected socket ({sock.family.name})"
    if isinstance(peer, tuple):
        return f"a connection to {peer[0]}:{peer[1]}"
    return f"a connection to {peer!s}" if peer else "a pair of sockets"
