"""The files in ``.owsuper/``, and the locks of the server's users."""

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
class ServerDirectory:
    """The directory of one embedded server.

    ``postgres/``  the server's data
    ``run``        the directory of the socket, or a link to a directory with a shorter path
    ``log``        the server's log
    ``users``      every user holds a shared lock on this file (see ``keeper``)
    ``keeper``     the keeper locks this file; it reads ``ready PID`` while the server is ready
    ``starting``   the lock of a process that checks whether the server must be started

    All locks are record locks: they belong to a process, end with it, and are not inherited. A
    process that closes *any* descriptor of such a file loses its lock, so only this package opens
    these files, and opens ``users`` once in each process.
    """

    path: Path

    def create(self) -> None:
        """Create the directory unless it exists. Raises OSError."""
        # Root's server runs as another user, who must pass through this directory.
        self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def lock_users(self) -> int:
        """Take the lock of a user, and return the descriptor to close for its release.

        Waits until a server that is stopping has stopped.
        """
        users = self._open("users")
        fcntl.lockf(users, fcntl.LOCK_SH)
        return users

    @contextmanager
    def lock_start(self) -> Iterator[None]:
        """Hold the lock under which a process checks whether the server must be started."""
        starting = self._open("starting")
        try:
            fcntl.lockf(starting, fcntl.LOCK_EX)
            yield
        finally:
            os.close(starting)

    def has_keeper(self) -> bool:
        """Whether a keeper runs, whatever the state of its server."""
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
        """Whether the keeper reports the server ready, and the server accepts connections."""
        if not (self.path / "keeper").read_text().startswith("ready"):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(os.fsencode((self.path / "run").resolve() / ".s.PGSQL.5432"))
            except OSError:
                return False
        return True

    def url(self) -> str:
        """Return the URL of the server."""
        host = quote(os.fsencode((self.path / "run").resolve()))
        return f"postgresql://postgres@/postgres?host={host}&port=5432"

    def _open(self, name: str) -> int:
        lock = os.open(self.path / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:  # in another user's directory, files belong to that user
            owner = self.path.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)
        return lock
