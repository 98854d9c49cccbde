"""The line to the program that started a worker."""

from __future__ import annotations

import os
import socket

import pytest

from owsuper.event_loop import Loop
from owsuper.supervisor.ready import ReadyLine


def test_a_pipe_gets_the_line_and_is_closed() -> None:
    reader, writer = os.pipe()
    connection = ReadyLine(writer, lambda: None)
    connection.say()
    assert os.read(reader, 100) == b"ready\n"
    assert os.read(reader, 100) == b""
    os.close(reader)
    connection.close()


@pytest.mark.parametrize("said", [False, True])
def test_the_end_of_a_socket_is_noticed_before_and_after_the_line(said: bool) -> None:
    gone: list[bool] = []
    ours, theirs = socket.socketpair()
    loop = Loop()
    connection = ReadyLine(theirs.detach(), lambda: gone.append(True))
    loop.add(connection)
    if said:
        connection.say()
        assert ours.recv(100) == b"ready\n"
    ours.close()
    while not gone:
        loop.turn()
    connection.say()  # too late, and no error
    loop.remove(connection)
    connection.close()
    loop.close()


def test_no_child_inherits_it() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    connection = ReadyLine(writer, lambda: None)
    assert not os.get_inheritable(writer)
    connection.close()
    os.close(reader)
