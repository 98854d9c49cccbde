"""Pipes between real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from owsuper.event_loop import Loop
from owsuper.ipc.messages import Drain, Finished, LeasesRenewed, Message, encode
from owsuper.ipc.pipe import Pipe


class End:
    """A pipe in a loop, and what it received."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.messages: list[Message] = []
        self.eof = 0
        self.pipe = Pipe(sock, on_message=self.messages.append, on_eof=self._eof)
        loop.add(self.pipe)

    def _eof(self) -> None:
        self.eof += 1


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    mine, other = socket.socketpair()
    with mine, other:
        yield mine, other


@pytest.fixture
def end(loop: Loop, sockets: tuple[socket.socket, socket.socket]) -> End:
    return End(loop, sockets[0])


@pytest.fixture
def other(sockets: tuple[socket.socket, socket.socket]) -> socket.socket:
    return sockets[1]


def test_the_last_messages_arrive_before_eof(loop: Loop, end: End, other: socket.socket) -> None:
    last = Finished(0, "run", "completed")
    other.sendall(encode(Drain()) + encode(last))
    other.close()
    while not end.eof:
        loop.turn()
    assert end.messages == [Drain(), last]
    assert end.eof == 1
    assert end.pipe.fileno() == -1


def test_messages_for_a_slow_reader_wait_in_a_queue(
    loop: Loop, end: End, other: socket.socket
) -> None:
    message = LeasesRenewed(tuple(f"worker-{n}" for n in range(1000)))
    for _ in range(200):
        end.pipe.send(message)
    received = bytearray()
    other.setblocking(False)
    expected = len(encode(message)) * 200
    while len(received) < expected:
        try:
            received += other.recv(1 << 20)
        except BlockingIOError:
            loop.turn()
    assert bytes(received) == encode(message) * 200


def test_a_torn_stream_is_an_eof(loop: Loop, end: End, other: socket.socket) -> None:
    other.sendall(encode(Drain()) + b"Traceback (most recent call last)")
    while not end.eof:
        loop.turn()
    assert end.pipe.fileno() == -1


def test_a_closed_reader_is_an_eof_and_no_error(loop: Loop, end: End, other: socket.socket) -> None:
    other.close()
    end.pipe.send(Drain())
    while not end.eof:
        loop.turn()
    end.pipe.send(Drain())
    assert end.eof == 1


def test_descriptors_are_sent_and_closed_here(end: End, other: socket.socket) -> None:
    reader, writer = os.pipe()
    end.pipe.send(Drain(), fds=[writer])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer)
    data, (received,), _, _ = socket.recv_fds(other, 1000, 2)
    assert data == encode(Drain())
    os.write(received, b"hello")
    assert os.read(reader, 10) == b"hello"
    os.close(received)
    os.close(reader)


def test_descriptors_that_cannot_be_sent_are_closed(end: End, other: socket.socket) -> None:
    other.close()
    reader, writer = os.pipe()
    end.pipe.send(Drain(), fds=[writer])
    assert os.read(reader, 1) == b""
    os.close(reader)
