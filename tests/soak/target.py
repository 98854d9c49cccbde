"""What the soak attacks: a server, a proxy in front of it, and workers that are kept running."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from owsuper.db.migrate import migrate
from tests.acceptance.deployment import Deployment, Worker, wait_until_dead
from tests.fixtures.cluster import Server, Servers
from tests.fixtures.postgres import connect
from tests.fixtures.processes import spawning, spawning_owsuper
from tests.fixtures.proxy import Proxy

# The lease is shorter than the time in which a round must settle.
WORKER = {
    "processes": 2,
    "concurrency": 4,
    "lease": "10s",
    "graceful_timeout": "3s",
    "max_crashes": 1000,
}
CANNOT_REACH_DATABASE = 4  # the exit code of a worker whose first connection fails
OWN_SESSIONS = "-c default_transaction_read_only=off -c statement_timeout=0"
SERVER = {"max_connections": "60", "autovacuum_naptime": "5s"}


class Target:
    """A deployment of two workers, one of them behind a proxy.

    ``violations`` holds what a fault must not cause, in words.
    """

    def __init__(self, server: Server, proxy: Proxy, deployment: Deployment) -> None:
        self.server = server
        self.proxy = proxy
        self.deployment = deployment
        self.violations: list[str] = []
        self._urls = [server.url, proxy.url]
        self._workers: list[Worker | None] = [None for _ in self._urls]
        self._condemned: set[int] = set()  # supervisors that the soak has killed or told to stop
        self._stopping: list[Worker] = []

    @property
    def workers(self) -> list[Worker]:
        return [each for each in self._workers if each is not None and each.program.running]

    @property
    def all_workers(self) -> list[Worker]:
        """Every worker so far."""
        return self.deployment.workers

    def condemn(self, worker: Worker) -> None:
        """Let this worker end. Another replaces it."""
        self._condemned.add(worker.pid)

    def stop_gracefully(self, worker: Worker) -> None:
        """TERM. The worker must exit with code 0."""
        self.condemn(worker)
        self._stopping.append(worker)
        with suppress(ProcessLookupError):
            worker.program.terminate()

    def keep_workers(self) -> None:
        """Start a worker in place of each that has ended."""
        for place, worker in enumerate(self._workers):
            if worker is not None and worker.program.running and worker.pid not in self._condemned:
                continue
            if worker is not None and worker.pid not in self._condemned:
                self._judge_end(worker)
            self.deployment.url = self._urls[place]
            self._workers[place] = self.deployment.worker(wait=False, **WORKER)

    def stop_workers(self) -> None:
        """Stop all workers; each must exit with code 0 and leave no process behind."""
        for worker in self.workers:
            if worker.pid not in self._condemned:
                self.stop_gracefully(worker)
        for worker in self._stopping:
            processes = worker.processes()
            try:
                code = worker.program.wait(60)
            except AssertionError:
                self.violations.append(f"worker {worker.pid} does not stop:\n{worker.log[-3000:]}")
                continue
            # Another fault may have killed it. TERM ends a program that has only begun to start.
            if code not in (0, -signal.SIGKILL) and (worker.was_ready or code != -signal.SIGTERM):
                self.violations.append(
                    f"worker {worker.pid} stopped with code {code}:\n{worker.log[-3000:]}"
                )
            try:
                wait_until_dead(processes)
            except AssertionError as left:
                self.violations.append(f"worker {worker.pid} left a process behind: {left}")

    def _judge_end(self, worker: Worker) -> None:
        code = worker.program.wait()
        if code != CANNOT_REACH_DATABASE or worker.was_ready:
            self.violations.append(
                f"worker {worker.pid} ended by itself with code {code}:\n{worker.log[-3000:]}"
            )


@contextmanager
def running_target(server: Server) -> Iterator[Target]:
    """A target with tables and workers of its own."""
    schema = f"soak_{uuid4().hex[:8]}"
    with connect(server.url) as conn:
        migrate(conn, schema)
    directory = Path(tempfile.mkdtemp(prefix="owsuper-soak-"))
    own = server.conninfo(options=OWN_SESSIONS)
    with Proxy(server.url) as proxy, spawning() as spawn:
        deployment = Deployment(own, schema, spawning_owsuper(spawn), directory)
        target = Target(server, proxy, deployment)
        try:
            target.keep_workers()
            yield target
        finally:
            for worker in deployment.workers:
                worker.program.end()
            deployment.close()


@contextmanager
def running_server(binaries: Path) -> Iterator[Server]:
    """A server that the soak may kill."""
    servers = Servers(binaries)
    try:
        yield servers.create("soak", **SERVER)
    finally:
        servers.close()


def signal_process(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
