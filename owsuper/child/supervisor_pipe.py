"""The child's end of the pipe to the supervisor."""

from __future__ import annotations

import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from owsuper.ipc.messages import FrameBuffer, Message, encode

_READ_SIZE: Final = 65536  # bytes


class SupervisorPipe:
    """Sends messages from any thread, and receives them in the thread of the event loop.

    ``on_gone`` is called once, when the supervisor's end is closed.
    """

    events = selectors.EVENT_READ

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_message = on_message
        self._on_gone = on_gone
        self._frames = FrameBuffer()
        self._is_open = True
        self._sending = threading.Lock()
        self._outgoing: deque[bytes] = deque()

    def fileno(self) -> int:
        """The descriptor that the loop watches; -1 when the supervisor is gone."""
        return self._sock.fileno() if self._is_open else -1

    def on_ready(self, _mask: int) -> None:
        """Read what has arrived and pass on the complete messages."""
        try:
            data = self._sock.recv(_READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self._is_open = False
            self._on_gone()
        for message in self._frames.feed(data):
            self._on_message(message)

    def send(self, message: Message) -> None:
        """Send ``message``, or leave that to the thread that is sending just now.

        Slots that share a commit end their runs at the same moment.
        """
        self._outgoing.append(encode(message))
        while self._outgoing and self._sending.acquire(blocking=False):
            try:
                self._send_outgoing()
            finally:
                self._sending.release()

    def flush(self) -> None:
        """Send what other threads have queued and not sent yet. Blocks."""
        with self._sending:
            self._send_outgoing()

    def _send_outgoing(self) -> None:
        frames = []
        with suppress(IndexError):  # other threads append meanwhile
            while True:
                frames.append(self._outgoing.popleft())
        with suppress(OSError):  # if the supervisor is gone, the reader notices by itself
            self._sock.sendall(b"".join(frames))
