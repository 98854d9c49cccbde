"""The line to the program that started us: it hears when we are ready, we hear when it is gone."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import stat
from collections.abc import Callable


class ReadyLine:
    """Over ``fd``, which is taken over. Something that a Loop watches.

    A socket is kept open: ``on_gone`` is called when its other end is closed. Anything else
    is closed once the line is written.
    """

    def __init__(self, fd: int, on_gone: Callable[[], None]) -> None:
        os.set_inheritable(fd, False)
        self._on_gone = on_gone
        self._fd = fd
        self._is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)

    @property
    def events(self) -> int:
        return selectors.EVENT_READ if self._is_socket else 0

    def fileno(self) -> int:
        return self._fd

    def on_ready(self, _mask: int) -> None:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as sock:
            if sock.recv(512, socket.MSG_DONTWAIT):
                return
        self.close()
        self._on_gone()

    def say(self) -> None:
        """Write the line."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):  # gone: we shall hear
            os.write(self._fd, b"ready\n")
        if not self._is_socket:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
