"""How a worker of this machine is: what ``owsuper healthcheck`` asks, and what the worker answers.

The supervisor listens on a socket with an abstract address, which Linux has. Whoever connects gets
one JSON document, written between two turns of the supervisor's loop: an answer proves that the
loop turns. Nothing happens while nobody asks, no file is written, and no socket is left behind by
a process that is killed. Abstract addresses belong to the network namespace, which containers may
share. So the address also names the namespace of the pid: a container sees its own worker only.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import struct
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

_PID_NAMESPACE: Final = Path("/proc/self/ns/pid")
_SOCKETS: Final = Path("/proc/self/net/unix")
_LISTENING: Final = "00010000"  # __SO_ACCEPTCON in the flags of a socket, in that list
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of SO_PEERCRED, unix(7)
_LIMIT: Final = 65536  # bytes of an answer


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The state of a worker. ``pid`` is the supervisor's, as the worker itself sees it.

    ``status`` is a text such as ``3/8 busy``. ``takes_runs`` is true if at least one child process
    takes runs, the database is connected, and the worker neither starts nor stops. ``children`` is
    the number of child processes that take runs. ``schema`` is that of the tables. ``reloads`` is
    the number of reloads that have begun, ``reload_failure`` why the latest has failed, or None.
    """

    pid: int
    status: str
    takes_runs: bool
    children: int
    modules: tuple[str, ...]
    schema: str
    reloads: int = 0
    reloading: bool = False
    reload_failure: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the supervisor ``pid`` answered. ``health`` is None if it did not answer in time."""

    pid: int
    health: WorkerHealth | None


def listen() -> socket.socket | None:
    """Return a socket to be asked at; None if this platform or the system has none to give."""
    if sys.platform != "linux":
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        sock.bind(f"\0{_prefix()}{os.getpid()}.{secrets.token_hex(4)}")
        sock.listen()
    except OSError:
        sock.close()
        return None
    return sock


def encode(health: WorkerHealth) -> bytes:
    """Return the answer of a worker."""
    return msgspec.json.encode(health)


def ask_workers(timeout: float, pid: int | None = None) -> list[Answer]:
    """Ask the workers of this machine, or of this container, that belong to this user.

    root asks those of all users. All are asked at once, and have ``timeout`` seconds to answer.
    With ``pid``, only that worker is asked, or the workers that this process has started.
    """
    give_up_at = time.monotonic() + timeout
    addresses = _addresses()
    if pid is not None:
        addresses = [each for each in addresses if each[0] == pid] or [
            each for each in addresses if _parent(each[0]) == pid
        ]
    with ExitStack() as stack:
        asked = [
            (named, sock)
            for named, address in addresses
            if (sock := _connect(named, address, stack)) is not None
        ]
        answers = [Answer(each, _read(sock, give_up_at)) for each, sock in asked]
    return sorted(answers, key=lambda each: each.pid)


def _prefix() -> str:
    """Return what the addresses of this pid namespace begin with; namespaces(7) has the number."""
    try:
        return f"owsuper/{_PID_NAMESPACE.stat().st_ino}/"
    except OSError:  # there is no /proc
        return "owsuper/0/"


def _addresses() -> list[tuple[int, str]]:
    """Return the addresses at which workers of this pid namespace listen, each with its pid.

    Anybody may listen at an address like these.
    """
    try:
        lines = _SOCKETS.read_text(errors="replace").splitlines()
    except OSError:
        return []
    # Num RefCount Protocol Flags Type St Inode Path, as proc(5) has it
    sockets = (line.split(maxsplit=7) for line in lines[1:])
    ours = re.compile(rf"@{_prefix()}(\d+)\.[0-9a-f]+", re.ASCII)
    found = [
        ours.fullmatch(fields[7])
        for fields in sockets
        if len(fields) == 8 and fields[3] == _LISTENING
    ]
    return [(int(match[1]), f"\0{match[0][1:]}") for match in found if match is not None]


def _parent(pid: int) -> int | None:
    """Return the parent of a process; None if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _connect(pid: int, address: str, stack: ExitStack) -> socket.socket | None:
    """Return a connection to the worker, which ``stack`` closes.

    None if the worker has just ended, or is not what its address says, or not ours.
    """
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    sock.setblocking(False)
    try:
        sock.connect(address)
    except BlockingIOError:  # so many wait for an answer that no more may wait
        return sock
    except OSError:
        return None
    peer, uid, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return sock if peer == pid and os.geteuid() in (0, uid) else None


def _read(sock: socket.socket, give_up_at: float) -> WorkerHealth | None:
    """Return the answer; None if none has come at this ``time.monotonic`` moment."""
    received = b""
    try:
        while len(received) < _LIMIT:
            sock.settimeout(max(give_up_at - time.monotonic(), 0.0))
            if not (data := sock.recv(4096)):
                return msgspec.json.decode(received, type=WorkerHealth)
            received += data
    except (OSError, msgspec.DecodeError):
        pass
    return None
