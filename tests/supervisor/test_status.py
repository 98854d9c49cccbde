"""The ready descriptor of the program that started a worker."""

from __future__ import annotations

import os
import socket

import pytest

from owsuper.event_loop import Loop
from owsuper.supervisor.status import ReadyDescriptor


def nothing() -> None: ...


def test_the_line_is_written_to_a_pipe_which_is_then_closed() -> None:
    reader, writer = os.pipe()
    descriptor = ReadyDescriptor(writer, nothing, nothing)
    descriptor.write_line("ready")
    assert os.read(reader, 100) == b"ready\n"
    assert os.read(reader, 100) == b""
    os.close(reader)
    descriptor.close()


@pytest.mark.parametrize("written", [False, True])
def test_the_end_of_a_socket_is_noticed_before_and_after_the_line(
    loop: Loop, written: bool
) -> None:
    gone: list[bool] = []
    ours, theirs = socket.socketpair()
    descriptor = ReadyDescriptor(theirs.detach(), lambda: gone.append(True), nothing)
    loop.add(descriptor)
    if written:
        descriptor.write_line("ready")
        assert ours.recv(100) == b"ready\n"
    ours.close()
    while not gone:
        loop.turn()
    descriptor.write_line("ready")  # too late, and no error
    loop.remove(descriptor)
    descriptor.close()


def test_no_child_inherits_the_descriptor() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    descriptor = ReadyDescriptor(writer, nothing, nothing)
    assert not os.get_inheritable(writer)
    descriptor.close()
    os.close(reader)
