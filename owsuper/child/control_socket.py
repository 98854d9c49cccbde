"""The template's end of its socket to the supervisor."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque

from owsuper.ipc.messages import FrameBuffer, Message, encode


class ControlSocket:
    """Messages, and descriptors beside them. ``is_open`` until the supervisor has exited."""

    def __init__(self, sock: socket.socket) -> None:
        self.is_open = True
        self._sock = sock
        self._frames = FrameBuffer()
        # For each Fork message that is not handled yet; empty if they could not be received.
        self._descriptors: deque[tuple[int, ...]] = deque()

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._sock.fileno()

    def receive(self) -> list[Message]:
        """Wait for the next messages and return them; none when the supervisor has exited."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._sock, 65536, 64)
        except ConnectionError:
            data, descriptors, flags = b"", [], 0
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # not for processes that steps start
        if flags & socket.MSG_CTRUNC:  # this process can have no more descriptors
            for descriptor in descriptors:
                os.close(descriptor)
            self._descriptors.append(())
        elif descriptors:
            self._descriptors.append(tuple(descriptors))
        self.is_open = bool(data)
        return self._frames.feed(data)

    def peer_is_open(self) -> bool:
        """Whether the supervisor has not closed its end, as far as can be told without waiting."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except ConnectionError:
            return False

    def take_descriptors(self) -> tuple[int, ...]:
        """Return the descriptors of the next Fork message; none if they could not be received."""
        return self._descriptors.popleft()

    def unused_descriptors(self) -> list[int]:
        """Return the descriptors of the Fork messages that are not handled yet."""
        return [descriptor for group in self._descriptors for descriptor in group]

    def send(self, message: Message) -> None:
        """Send a message, unless the supervisor has exited."""
        if self.is_open:
            with contextlib.suppress(OSError):  # it has exited: ``receive`` reads EOF
                self._sock.sendall(encode(message))

    def close(self) -> None:
        """Close this process's copy of the socket."""
        self._sock.close()
