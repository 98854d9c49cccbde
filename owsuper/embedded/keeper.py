"""The keeper: a process that runs one PostgreSQL server as long as the server has users.

    python -E -s -S keeper.py DIRECTORY BINARIES LASTING|TEMPORARY [NAME=VALUE ...]

The keeper is a process of its own, so that it outlives users that are killed. It is a script that
imports only the two modules beside it, so that it starts fast and stays small.

The keeper locks ``DIRECTORY/keeper`` during its life. Every user holds a shared lock on
``DIRECTORY/users``, and the keeper waits for the exclusive lock: the system grants that lock when
the last user has released its lock or died. These are record locks (``fcntl``), which belong to a
process: the fork of a user neither keeps the server running nor releases the user's lock.

The keeper prints ``ready``, or the reason of a failure, to standard output, and then closes it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.embedded.account import (
        CannotStart,
        interrupted_with_parent,
        reaching_account_switch,
        server_account,
    )
    from owsuper.embedded.postmaster import STOP_SECONDS, is_ready, remove_stale_lock_file
else:  # a script imports the modules beside it by their plain names
    from account import (
        CannotStart,
        interrupted_with_parent,
        reaching_account_switch,
        server_account,
    )
    from postmaster import STOP_SECONDS, is_ready, remove_stale_lock_file

START_SECONDS = 50  # below the 60 s that a user waits for the keeper
SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # bytes; sun_path without its NUL


class Keeper:
    """Creates, starts, watches and stops one server."""

    def __init__(
        self, directory: Path, binaries: Path, options: dict[str, str], *, temporary: bool
    ) -> None:
        self.directory = directory
        self.data = directory / "postgres"
        self.log = directory / "log"
        self.binaries = binaries
        self.options = options
        self.temporary = temporary
        self.account = server_account(directory)
        self.switch_account = (
            reaching_account_switch(self.account, directory, binaries) if self.account else None
        )
        self.stopping = False
        self._state = (directory / "keeper").open("r+")
        self._users = (directory / "users").open("r+")
        fcntl.lockf(self._state, fcntl.LOCK_EX)  # waits for a keeper that is still stopping

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server and return its process; create its data first if there are none.

        Raises CannotStart.
        """
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()
        remove_stale_lock_file(self.data)
        sockets = self._socket_directory()
        give_up = time.monotonic() + START_SECONDS
        while True:
            process, failure = self._try_to_start(sockets, give_up)
            if failure is None:
                self._write_state(f"ready {os.getpid()}")
                return process
            if "still in use" not in failure or time.monotonic() > give_up:
                raise CannotStart(failure)
            time.sleep(0.1)  # the processes of a killed server have not all ended yet

    def stop_when_unused(self) -> None:
        """Wait until the server has no users, then stop it. New users wait for the stop."""
        fcntl.lockf(self._users, fcntl.LOCK_EX)
        self.stop()

    def stop(self, *_signal: object) -> None:
        """Stop the server, which makes ``run`` return. Safe in a signal handler."""
        self.stopping = True
        self._write_state("")
        self.process.send_signal(signal.SIGINT)  # a "fast" shutdown: disconnects all clients
        signal.alarm(STOP_SECONDS)

    def run(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server has stopped because it has no users, or has crashed."""
        self.process = process
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGALRM, lambda *_: process.send_signal(signal.SIGQUIT))
        threading.Thread(target=self.stop_when_unused, daemon=True).start()
        process.wait()

    def clean_up(self) -> None:
        """Remove the socket directory in /tmp, and all files of a temporary server."""
        run = self.directory / "run"
        if run.is_symlink():
            shutil.rmtree(run.resolve(), ignore_errors=True)
            run.unlink()
        if self.temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _create_cluster(self) -> None:
        unfinished = self.directory / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._change_owner(unfinished)
        arguments = ["-D", str(unfinished), "-U", "postgres", "--auth=peer", "--encoding=UTF8"]
        arguments += ["--no-locale", "--no-instructions"]
        arguments += ["--no-sync"] if self.temporary else []
        initdb = subprocess.run(
            [str(self.binaries / "initdb"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(),
            preexec_fn=self.switch_account,
            check=False,
        )
        if initdb.returncode != 0:
            raise CannotStart((initdb.stderr or initdb.stdout).decode(errors="replace").strip())
        # Even at the socket, only this user, the directory's owner and root may connect.
        users = {os.geteuid(), self.directory.stat().st_uid, 0}
        (unfinished / "pg_hba.conf").write_text("local all all peer map=owsuper\n")
        (unfinished / "pg_ident.conf").write_text(
            "".join(f'owsuper "{pwd.getpwuid(user).pw_name}" postgres\n' for user in users)
        )
        unfinished.rename(self.data)

    def _socket_directory(self) -> Path:
        """Return ``run``, or the target of ``run`` where its path is too long for a socket.

        The directory stays the same after a crash, because users keep the server's URL.
        """
        run = self.directory / "run"
        if not self._is_usable(run):
            if run.is_symlink():  # the target in /tmp was removed
                run.unlink()
            shutil.rmtree(run, ignore_errors=True)  # after a move to a longer path
            if fits(run):
                run.mkdir(mode=0o700)
            else:
                run.symlink_to(tempfile.mkdtemp(prefix="owsuper-", dir="/tmp"))
        self._change_owner(run)
        for stale in run.glob(".s.PGSQL.*"):
            stale.unlink()
        return run.resolve()

    def _is_usable(self, run: Path) -> bool:
        """Whether ``run`` exists, belongs to the server's user, and is short enough."""
        if not run.is_dir() or not fits(run.resolve()):
            return False
        server = self.account.uid if self.account else os.geteuid()
        return run.stat().st_uid in (os.geteuid(), server)

    def _try_to_start(
        self, sockets: Path, give_up: float
    ) -> tuple[subprocess.Popen[bytes], str | None]:
        settings = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": '"{}"'.format(str(sockets).replace('"', '""')),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "cluster_name": "owsuper",
            **self.options,
        }
        command = [str(self.binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._change_owner(self.log)
            log_size = log.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                preexec_fn=interrupted_with_parent(os.getpid(), self.switch_account),
            )
        while time.monotonic() < give_up and process.poll() is None:
            if is_ready(self.data, process.pid):
                return process, None
            time.sleep(0.01)
        process.kill()
        process.wait()
        with self.log.open("rb") as log:
            log.seek(log_size)
            return process, log.read()[-2000:].decode(errors="replace").strip()

    def _change_owner(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _write_state(self, state: str) -> None:
        os.ftruncate(self._state.fileno(), 0)
        os.pwrite(self._state.fileno(), state.encode(), 0)


def environment() -> dict[str, str]:
    """Return this process's environment without settings of PostgreSQL, in the C locale."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def fits(run: Path) -> bool:
    """Whether the path of a socket in ``run`` is valid for the system and for a URL."""
    path = os.fsencode(run / ".s.PGSQL.5432")
    return len(path) <= SOCKET_PATH_LIMIT and b"," not in path  # libpq splits hosts at commas


def main(directory: Path, binaries: Path, options: dict[str, str], *, temporary: bool) -> None:
    """Run the keeper as a daemon; never returns."""
    if os.fork():
        os._exit(0)  # the keeper must be no child of the user, whose waitpid() would see it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    try:
        keeper = Keeper(directory, binaries, options, temporary=temporary)
        process = keeper.start()
    except (CannotStart, OSError) as failure:
        print(failure, flush=True)
        os._exit(1)
    print("ready", flush=True)
    with keeper.log.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    keeper.run(process)
    if keeper.stopping:
        keeper.clean_up()
    os._exit(0)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        dict(option.split("=", 1) for option in sys.argv[4:]),
        temporary=sys.argv[3] == "TEMPORARY",
    )
