"""What lies where in ``.owsuper/``, and the locks by which its users find each other."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Home:
    """The directory of one embedded server.

    ``postgres/``  its data; the server's own
    ``run``        where its socket is: a directory, or a link to one with a shorter path
    ``log``        what it said
    ``users``      every user holds a shared lock on it (see ``keeper``)
    ``keeper``     its keeper holds it locked; says ``ready PID`` while the server can be used
    ``starting``   held locked by whoever looks whether it must be started

    All locks are record locks: they belong to a process, end with it, and are not inherited.
    A process that closes *any* descriptor of such a file loses its lock, so only this room
    opens them, and ``users`` once a process.
    """

    path: Path

    def prepare(self) -> None:
        """Create what is missing. Raises OSError."""
        # Root's server runs as somebody else, who must get through, but need not look around.
        self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def enter(self) -> int:
        """Become a user: returns what to close in order to leave. Waits for a stop under way."""
        users = self._open("users")
        fcntl.lockf(users, fcntl.LOCK_SH)
        return users

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that looks whether the server must be started."""
        starting = self._open("starting")
        try:
            fcntl.lockf(starting, fcntl.LOCK_EX)
            yield
        finally:
            os.close(starting)

    def is_kept(self) -> bool:
        """Whether a keeper lives: starting its server, serving, or stopping."""
        keeper = self._open("keeper")
        try:
            fcntl.lockf(keeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        else:
            return False
        finally:
            os.close(keeper)

    def is_ready(self) -> bool:
        """Whether the keeper says that the server can be used, and it can."""
        if not (self.path / "keeper").read_text().startswith("ready"):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(os.fsencode((self.path / "run").resolve() / ".s.PGSQL.5432"))
            except OSError:
                return False
        return True

    def url(self) -> str:
        """How to reach the server, once it is ready."""
        host = quote(os.fsencode((self.path / "run").resolve()))
        return f"postgresql://postgres@/postgres?host={host}&port=5432"

    def _open(self, name: str) -> int:
        lock = os.open(self.path / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:  # root is a guest where the directory is somebody else's
            owner = self.path.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)
        return lock
