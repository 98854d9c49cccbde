"""Standard error as a log uses it: a reader that does not read cannot stop the process.

A pipe that nobody reads is full after 64 KiB, and a plain write would then wait for ever. The
descriptor itself must stay blocking, because other processes share it. So a pipe or a terminal is
opened anew, and a socket is told at each call.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from owsuper import stderr_copy

_STDERR: Final = 2
_ATOMIC: Final = 4096  # bytes that a pipe has room for when it can be written to; PIPE_BUF


class LogStream:
    """Writes lines to descriptor 2, or counts them as lost.

    A reader that is slow is waited for, for at most ``patience`` seconds, until it was too slow
    once: then lines are lost until one can be written. ``notice(count)`` makes the line that says
    how many were lost before.
    """

    def __init__(self, patience: float, notice: Callable[[int], str]) -> None:
        self.lost = 0
        self._patience = patience
        self._notice = notice
        self._rest = b""  # what is left of a line that was written in part
        self._stalled = False
        self._write_now: Callable[[bytes], int] | None = None
        self._own: int | None = None
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._reset)

    def write_line(self, line: str) -> None:
        """Write ``line`` and its end, or count it as lost. Raises nothing."""
        encoded = _encode(line)
        stderr_copy.note(encoded)  # even if nobody reads the stream
        with self._lock:
            wait_until = 0.0 if self._stalled else time.monotonic() + self._patience
            pending = self._rest
            if self.lost:
                pending += _encode(self._notice(self.lost))
            data = pending + encoded
            written = self._write(data, wait_until)
            self._stalled = written < len(data)
            if written <= len(self._rest):
                self._rest = self._rest[written:]
                self.lost += 1
            else:  # at least begun: the rest follows, so that no line is torn
                self._rest = data[written:]
                self.lost = 0

    def _write(self, data: bytes, wait_until: float) -> int:
        """Return how many bytes of ``data`` were written."""
        if self._write_now is None:
            self._open()
        assert self._write_now is not None
        written = 0
        try:
            while written < len(data):
                try:
                    written += self._write_now(data[written:])
                except BlockingIOError:
                    left = wait_until - time.monotonic()
                    if left <= 0 or not _writable(left):
                        break
        except OSError:  # the reader has closed it, the disk is full, it is closed
            pass
        return written

    def _open(self) -> None:
        try:
            mode = os.fstat(_STDERR).st_mode
        except OSError:
            self._write_now = _write_to_stderr
            return
        if stat.S_ISSOCK(mode):  # systemd's journal
            self._write_now = _send
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with suppress(OSError):  # the device belongs to another user, or has no reader
                path = f"/proc/self/fd/{_STDERR}"
                self._own = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            self._write_now = _write_if_ready if self._own is None else self._write_own
        else:
            self._write_now = _write_to_stderr

    def _write_own(self, data: bytes) -> int:
        assert self._own is not None
        if not os.isatty(self._own):
            return os.write(self._own, data)
        # After ``stty tostop``, a process in the background must block TTOU, or it gets one.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            return os.write(self._own, data)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _reset(self) -> None:
        """Keep no descriptor of the parent process in a fork, and no lock of its threads."""
        self._lock = threading.Lock()
        if self._own is not None:
            with suppress(OSError):
                os.close(self._own)
        self._own = self._write_now = None
        self._rest, self.lost, self._stalled = b"", 0, False  # for the parent process to write


def write_once(text: str) -> None:
    """Write ``text`` and a line end to standard error, unless nobody reads it for a second."""
    LogStream(1.0, str).write_line(text)


def _encode(line: str) -> bytes:
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return f"{line}\n".encode(encoding, "backslashreplace")


def _writable(timeout: float) -> bool:
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    return bool(poll.poll(timeout * 1000))


def _write_to_stderr(data: bytes) -> int:
    return os.write(_STDERR, data)


def _send(data: bytes) -> int:
    with socket.socket(fileno=os.dup(_STDERR)) as sock:
        return sock.send(data, socket.MSG_DONTWAIT)


def _write_if_ready(data: bytes) -> int:
    """Without a descriptor of our own: blocks only if another process fills the pipe just now."""
    if not _writable(0):
        raise BlockingIOError
    return os.write(_STDERR, data[:_ATOMIC])
