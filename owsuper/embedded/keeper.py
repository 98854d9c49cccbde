"""Keep one PostgreSQL server running for as long as it has users.

    python -E -s -S keeper.py DIRECTORY BINARIES LASTING|TEMPORARY [NAME=VALUE ...]

A small process of its own, so that it outlives users who are killed, and started as a script
that imports nothing but its neighbours, so that it starts at once and stays small.

It holds ``DIRECTORY/keeper`` locked for as long as it lives, and waits for an exclusive lock on
``DIRECTORY/users``, of which every user holds a shared one: that is granted when the last of
them is gone, however they went. Record locks (``fcntl``) are what is meant: they belong to a
process, so a fork of a user neither keeps the server nor, by ending, gives it up.

Says ``ready`` on standard output, or why not, and then closes it.
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
    from owsuper.embedded.account import CannotStart, dying_with, server_account, way_in
    from owsuper.embedded.postmaster import STOP_SECONDS, forget_foreign_pid, is_ready
else:  # a script finds its neighbours by their own names
    from account import CannotStart, dying_with, server_account, way_in
    from postmaster import STOP_SECONDS, forget_foreign_pid, is_ready

START_SECONDS = 50
SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # bytes


class Keeper:
    """One server, from before its first start to after its last stop."""

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
        self.become = way_in(self.account, directory, binaries) if self.account else None
        self.stopping = False
        self._state = (directory / "keeper").open("r+")
        self._users = (directory / "users").open("r+")
        fcntl.lockf(self._state, fcntl.LOCK_EX)  # waits for a predecessor that is still stopping

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, on a new cluster if there is none. Raises CannotStart."""
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()
        forget_foreign_pid(self.data)
        sockets = self._socket_directory()
        give_up = time.monotonic() + START_SECONDS
        while True:
            process, failure = self._try_to_start(sockets, give_up)
            if failure is None:
                self._say(f"ready {os.getpid()}")
                return process
            if "still in use" not in failure or time.monotonic() > give_up:
                raise CannotStart(failure)
            time.sleep(0.1)  # the last of a killed server's children are on their way out

    def stop_when_unused(self) -> None:
        fcntl.lockf(self._users, fcntl.LOCK_EX)  # and keep it: new users wait until we are gone
        self.stop()

    def stop(self, *_signal: object) -> None:
        """Ask the server to stop: ``run`` returns when it has. Safe in a signal handler."""
        self.stopping = True
        self._say("")
        self.process.send_signal(signal.SIGINT)  # "fast": disconnects whoever is left
        signal.alarm(STOP_SECONDS)

    def run(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the server has stopped, because nobody uses it or because it crashed."""
        self.process = process
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGALRM, lambda *_: process.send_signal(signal.SIGQUIT))
        threading.Thread(target=self.stop_when_unused, daemon=True).start()
        process.wait()

    def tidy(self) -> None:
        """Leave nothing in /tmp, and of a temporary server nothing at all."""
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
        self._hand_over(unfinished)
        arguments = ["-D", str(unfinished), "-U", "postgres", "--auth=peer", "--encoding=UTF8"]
        arguments += ["--no-locale", "--no-instructions"]
        arguments += ["--no-sync"] if self.temporary else []
        made = subprocess.run(
            [str(self.binaries / "initdb"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(),
            preexec_fn=self.become,
            check=False,
        )
        if made.returncode != 0:
            raise CannotStart((made.stderr or made.stdout).decode(errors="replace").strip())
        # Not for others, even if they get at the socket: for the directory's owner and for root.
        users = {os.geteuid(), self.directory.stat().st_uid, 0}
        (unfinished / "pg_hba.conf").write_text("local all all peer map=owsuper\n")
        (unfinished / "pg_ident.conf").write_text(
            "".join(f'owsuper "{pwd.getpwuid(user).pw_name}" postgres\n' for user in users)
        )
        unfinished.rename(self.data)

    def _socket_directory(self) -> Path:
        """``run``, or what it links to where its own path is too long for a socket's.

        It keeps its place over a crash, so that what users know of it stays true.
        """
        run = self.directory / "run"
        if not self._serves(run):
            if run.is_symlink():  # to a directory that was cleaned away
                run.unlink()
            shutil.rmtree(run, ignore_errors=True)  # or the directory was moved to a longer path
            if fits(run):
                run.mkdir(mode=0o700)
            else:
                run.symlink_to(tempfile.mkdtemp(prefix="owsuper-", dir="/tmp"))
        self._hand_over(run)
        for stale in run.glob(".s.PGSQL.*"):
            stale.unlink()
        return run.resolve()

    def _serves(self, run: Path) -> bool:
        """Whether ``run`` is there, ours, and short enough."""
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
            self._hand_over(self.log)
            said_before = log.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                preexec_fn=dying_with(os.getpid(), self.become),
            )
        while time.monotonic() < give_up and process.poll() is None:
            if is_ready(self.data, process.pid):
                return process, None
            time.sleep(0.01)
        process.kill()
        process.wait()
        with self.log.open("rb") as log:
            log.seek(said_before)
            return process, log.read()[-2000:].decode(errors="replace").strip()

    def _hand_over(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _say(self, state: str) -> None:
        os.ftruncate(self._state.fileno(), 0)
        os.pwrite(self._state.fileno(), state.encode(), 0)


def environment() -> dict[str, str]:
    """Ours, without what would steer PostgreSQL; its messages in plain English."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def fits(run: Path) -> bool:
    """Whether a socket there has a path that the system allows and a URL can carry."""
    path = os.fsencode(run / ".s.PGSQL.5432")
    return len(path) <= SOCKET_PATH_LIMIT and b"," not in path  # libpq splits hosts at commas


def main(directory: Path, binaries: Path, options: dict[str, str], *, temporary: bool) -> None:
    if os.fork():
        os._exit(0)  # so that we are nobody's child, and surprise nobody's waitpid()
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
        keeper.tidy()
    os._exit(0)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        dict(option.split("=", 1) for option in sys.argv[4:]),
        temporary=sys.argv[3] == "TEMPORARY",
    )
