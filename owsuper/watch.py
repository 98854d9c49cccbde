"""The process that watches files for ``owsuper --watch``.

``python -m owsuper.watch FD DIRECTORY...`` writes a line to the socket FD after each change of
Python files below the directories: the path of one of them. It ends when the other end of the
socket is closed. It is a process of its own because the library has threads, and a supervisor has
none.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Sequence


def watch(sock: socket.socket, directories: Sequence[str]) -> None:
    """Write a line after each change, until the other end of ``sock`` is closed."""
    from watchfiles import PythonFilter, watch

    threading.Thread(target=_leave_at_eof, args=(sock,), daemon=True).start()
    # A reload imports everything at once, so it waits until an editor or git has written all.
    for changes in watch(*directories, watch_filter=PythonFilter(), debounce=400, step=100):
        path = min(path for _, path in changes)
        sock.sendall(os.fsencode(path).replace(b"\n", b"?") + b"\n")


def _leave_at_eof(sock: socket.socket) -> None:
    while sock.recv(64):
        pass
    os._exit(0)


if __name__ == "__main__":
    watch(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
