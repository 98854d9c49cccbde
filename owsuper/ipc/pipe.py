"""One end of a private pipe: messages in and out of a socket that never blocks."""

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
    """Something that a Loop watches. A slow reader at the other end only makes a queue here.

    ``on_message`` gets every message in order; then ``on_eof``, once, when the other side is
    gone (a torn stream counts as gone), after which the pipe is closed.
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
        return self._sock.fileno()

    @property
    def events(self) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)

    def send(self, message: Message, *, fds: Sequence[int] = ()) -> None:
        """Send now, or when the other side has room. ``fds`` are the pipe's from here on."""
        self._outgoing.append((encode(message), fds))
        if self._sock.fileno() >= 0:
            self._flush()
        else:
            self._forget()

    def on_ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ:
            self.receive()

    def receive(self) -> None:
        """Hand over everything that has arrived."""
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
        self._forget()
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
        except OSError:  # gone: reading will say so, after what it still had to tell
            self._forget()

    def _forget(self) -> None:
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
