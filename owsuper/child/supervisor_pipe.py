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

    ``on_closed`` is called once, when the supervisor has closed its end.
    """

    events = selectors.EVENT_READ

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_message = on_message
        self._on_closed = on_closed
        self._frames = FrameBuffer()
        self._is_open = True
        self._sending = threading.Lock()
        self._outgoing: deque[bytes] = deque()

    def fileno(self) -> int:
        """Return the descriptor that the loop watches; -1 when the supervisor's end is closed."""
        return self._sock.fileno() if self._is_open else -1

    def on_ready(self, _mask: int) -> None:
        """Read from the pipe and call ``on_message`` for each complete message."""
        try:
            data = self._sock.recv(_READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self._is_open = False
            self._on_closed()
        for message in self._frames.feed(data):
            self._on_message(message)

    def send(self, message: Message) -> None:
        """Send ``message``, or leave that to a thread that is already sending.

        Slots that share a commit end their runs at the same time, so their messages share a write.
        """
        self._outgoing.append(encode(message))
        while self._outgoing and self._sending.acquire(blocking=False):
            try:
                self._send_outgoing()
            finally:
                self._sending.release()

    def flush(self) -> None:
        """Send the messages that other threads have queued. Blocks."""
        with self._sending:
            self._send_outgoing()

    def _send_outgoing(self) -> None:
        frames = []
        with suppress(IndexError):  # other threads append meanwhile
            while True:
                frames.append(self._outgoing.popleft())
        with suppress(OSError):  # the supervisor has exited: on_ready reads EOF
            self._sock.sendall(b"".join(frames))
