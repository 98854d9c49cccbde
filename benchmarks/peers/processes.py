"""The processes of a peer: its workers and its client, and their reports."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers.installing import PeerError, command, home
from benchmarks.peers.roster import Peer

TIMEOUT = 60.0
"""Seconds without an answer after which a program has failed."""
STOP_SECONDS = 10.0
CHECK = 0.5  # seconds between checks whether the workers live


@dataclass(frozen=True, slots=True)
class Report:
    """User code of ``job`` began at ``at``, seconds since the epoch, in process ``pid``."""

    job: str
    at: float
    pid: int


class PeerProcesses:
    """Starts and ends a peer's programs for one database, and receives their reports."""

    def __init__(self, peer: Peer, url: str, directory: Path) -> None:
        self.peer = peer
        self._command = command(peer)
        self._reports = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._reports.bind(("127.0.0.1", 0))
        self._environment = _environment(peer, url, self._reports.getsockname()[1])
        self._errors = directory / "stderr"
        self._running: list[subprocess.Popen[str]] = []
        self._workers: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str) -> None:
        """Run a program to its end. Raises PeerError with its last output if it fails."""
        process = self._start(arguments)
        try:
            code = process.wait(2 * TIMEOUT)
        except subprocess.TimeoutExpired:
            raise PeerError(f"{arguments[0]} took more than {2 * TIMEOUT:g} s") from None
        if code != 0:
            raise PeerError(f"{arguments[0]} failed: {self._last_output()}")

    @contextlib.contextmanager
    def workers(self, *, gracefully: bool = True) -> Iterator[None]:
        """Run two worker processes. ``gracefully`` sends TERM before KILL."""
        self._workers = [self._start(("worker",)) for _ in range(self.peer.workers)]
        try:
            yield
        finally:
            self._end(self._workers, gracefully=gracefully)
            self._workers = []

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        process = self._start(("client",), stdin=subprocess.PIPE)
        client = Client(process, self)
        try:
            client.answer()
            yield client
        finally:
            self._end([process], gracefully=False)

    def report(self, timeout: float = TIMEOUT, *, all_live: bool = True) -> Report:
        """The next report. Raises PeerError when there is none for ``timeout`` seconds, or,
        unless not ``all_live``, when a worker has ended.
        """
        give_up = time.monotonic() + timeout
        while (left := give_up - time.monotonic()) > 0:
            if select.select([self._reports], [], [], min(left, CHECK))[0]:
                job, at, pid = self._reports.recv(1000).decode().split()
                return Report(job, float(at), int(pid))
            if all_live:
                self.check()
        raise self.failed(f"no run began within {timeout:.0f} s")

    def check(self) -> None:
        if any(worker.poll() is not None for worker in self._workers):
            raise self.failed("a worker ended")

    def failed(self, what: str) -> PeerError:
        return PeerError(f"{what}: {self._last_output()}")

    def close(self) -> None:
        self._end(list(self._running), gracefully=False)
        self._reports.close()

    def _start(self, arguments: Sequence[str], stdin: int | None = None) -> subprocess.Popen[str]:
        with self._errors.open("a") as errors:
            process = subprocess.Popen(
                [*self._command, *arguments],
                env=self._environment,
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdin else errors,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def _end(self, processes: Sequence[subprocess.Popen[str]], *, gracefully: bool) -> None:
        """Each with all that it has started."""
        if gracefully:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            give_up = time.monotonic() + STOP_SECONDS
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(give_up - time.monotonic(), 0.01))
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)
            self._running.remove(process)

    def _last_output(self) -> str:
        lines = [line.strip() for line in self._errors.read_text("utf-8", "replace").splitlines()]
        return next((line for line in reversed(lines) if line), "it said nothing")[:200]


class Client:
    """Sends commands, one at a time, and waits for each one's answer."""

    def __init__(self, process: subprocess.Popen[str], processes: PeerProcesses) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout
        self._processes = processes

    def ask(self, text: str, timeout: float = TIMEOUT) -> Mapping[str, float]:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(text + "\n")
            self._stdin.flush()
        return self.answer(timeout)

    def answer(self, timeout: float = TIMEOUT) -> Mapping[str, float]:
        """The next line of JSON; what a library prints besides is passed over."""
        while True:
            if not select.select([self._stdout], [], [], timeout)[0]:
                raise self._processes.failed(f"the client gave no answer for {timeout:.0f} s")
            line = self._stdout.readline()
            if not line:
                raise self._processes.failed("the client ended")
            if line.startswith("{"):
                answer: Mapping[str, float] = json.loads(line)
                return answer


def _environment(peer: Peer, url: str, port: int) -> dict[str, str]:
    """The database as each driver wants it named: by libpq's URL, or by its parts."""
    parts = conninfo_to_dict(url)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OWSUPER_", "PG", "DBOS_", "OBAN_", "ABSURD_"))
    }
    environment |= {
        "PEER_URL": url,
        "PEER_REPORTS": str(port),
        "PEER_SLOTS": str(peer.slots),
        "PEER_HOME": str(home(peer)),
        "PYTHONUNBUFFERED": "1",
    }
    if peer.tool == "npm":  # postgres.js knows a socket's directory from the environment alone
        environment["PEER_POSTGRES_JS_URL"] = f"postgresql:///{parts['dbname']}"
        names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}
        environment |= {
            name: str(parts[part]) for name, part in names.items() if parts.get(part) is not None
        }
        environment.setdefault("PGHOST", urlsplit(url).hostname or "localhost")
    return environment


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()
