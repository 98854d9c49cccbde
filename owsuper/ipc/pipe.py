"""One end of a pipe between two processes: messages over a non-blocking socket."""

from __future__ import annotations

import array
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from owsuper.ipc.messages import FrameBuffer, FrameError, Message, encode

_CHUNK: Final = 65536


class Pipe:
    """One end of a pipe; a Loop watches it. Messages for a slow reader wait in a queue.

    ``on_message`` is called for all messages in order. ``on_eof`` is called once, when the other
    end is closed or the stream is torn; the pipe is closed then.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_message: Callable[[Message], None],
        on_eof: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_eof = on_eof
        self._frames = FrameBuffer()
        self._outgoing: deque[tuple[bytes, Sequence[int]]] = deque()

    def fileno(self) -> int:
        """Return the descriptor to watch; -1 when the pipe is closed."""
        return self._sock.fileno()

    @property
    def events(self) -> int:
        """The events to watch for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)

    def send(self, message: Message, *, fds: Sequence[int] = ()) -> None:
        """Send now, or when the socket has room. The pipe closes ``fds`` once they are sent."""
        self._outgoing.append((encode(message), fds))
        if self._sock.fileno() >= 0:
            self._flush()
        else:
            self._drop_outgoing()

    def on_ready(self, mask: int) -> None:
        """Write and read what is possible."""
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ:
            self.receive()

    def receive(self) -> None:
        """Call ``on_message`` for all messages that have arrived."""
        while self._sock.fileno() >= 0:
            try:
                data = self._sock.recv(_CHUNK)
                messages = self._frames.feed(data)
            except BlockingIOError:
                return
            except (OSError, FrameError):
                data, messages = b"", []
            for message in messages:
                self._on_message(message)
            if not data:
                self.close()
                self._on_eof()
            if len(data) < _CHUNK:
                return

    def close(self) -> None:
        """Close the socket and drop what is not sent yet; ``on_eof`` is not called."""
        self._drop_outgoing()
        self._sock.close()

    def _flush(self) -> None:
        try:
            while self._outgoing:
                data, fds = self._outgoing[0]
                sent = self._send(data, fds)
                _close(fds)
                if sent == len(data):
                    self._outgoing.popleft()
                else:
                    self._outgoing[0] = (data[sent:], ())
        except BlockingIOError:
            pass
        except OSError:  # the other end is closed: ``receive`` finds its last messages, then EOF
            self._drop_outgoing()

    def _drop_outgoing(self) -> None:
        while self._outgoing:
            _close(self._outgoing.popleft()[1])

    def _send(self, data: bytes, fds: Sequence[int]) -> int:
        if not fds:
            return self._sock.send(data)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        return self._sock.sendmsg([data], [rights])


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
