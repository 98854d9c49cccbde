"""The faults of the soak: each is a context manager, which inflicts it and heals it.

A fault draws all its random choices from the generator that it is given, so the same seed makes
the same choices. A fault that needs what this machine lacks raises ``NotPossible``.
"""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg

from tests.acceptance.deployment import Worker
from tests.fixtures.processes import title
from tests.soak.target import Target, signal_process

Fault = Callable[[Target, random.Random], AbstractContextManager[None]]

PIDS_CONTROLLER = Path("/sys/fs/cgroup/pids")


class NotPossible(Exception):
    """This machine does not allow the fault."""


def choose_worker(target: Target, rng: random.Random, *, ready: bool = False) -> Worker | None:
    """A worker, which has started if ``ready``; None if there is none now."""
    place = rng.random()
    workers = [each for each in target.workers if not ready or each.was_ready]
    return workers[int(place * len(workers))] if workers else None


def choose_process(target: Target, rng: random.Random, start: str) -> int | None:
    """A process of a worker whose title starts so; None if there is none now."""
    worker, place = choose_worker(target, rng), rng.random()
    if worker is None:
        return None
    found = [pid for pid in worker.program.descendants() if title(pid).startswith(start)]
    return found[int(place * len(found))] if found else None


# --- processes -------------------------------------------------------------------------------


@contextmanager
def kill_child(target: Target, rng: random.Random) -> Iterator[None]:
    if pid := choose_process(target, rng, "owsuper: child "):
        signal_process(pid, signal.SIGKILL)
    yield


@contextmanager
def kill_template(target: Target, rng: random.Random) -> Iterator[None]:
    if pid := choose_process(target, rng, "owsuper: template "):
        signal_process(pid, signal.SIGKILL)
    yield


@contextmanager
def kill_supervisor(target: Target, rng: random.Random) -> Iterator[None]:
    if worker := choose_worker(target, rng):
        target.condemn(worker)
        signal_process(worker.pid, signal.SIGKILL)
    yield


@contextmanager
def kill_worker(target: Target, rng: random.Random) -> Iterator[None]:
    """Kill all processes of a worker."""
    if worker := choose_worker(target, rng):
        target.condemn(worker)
        worker.signal_all(signal.SIGKILL)
    yield


@contextmanager
def restart_worker(target: Target, rng: random.Random) -> Iterator[None]:
    if worker := choose_worker(target, rng):
        target.stop_gracefully(worker)
    yield


@contextmanager
def reload_worker(target: Target, rng: random.Random) -> Iterator[None]:
    if worker := choose_worker(target, rng, ready=True):
        signal_process(worker.pid, signal.SIGHUP)
    yield


@contextmanager
def stop_child(target: Target, rng: random.Random) -> Iterator[None]:
    """SIGSTOP, and later SIGCONT."""
    pid = choose_process(target, rng, "owsuper: child ")
    with stopped([pid] if pid else []):
        yield


@contextmanager
def stop_supervisor(target: Target, rng: random.Random) -> Iterator[None]:
    worker = choose_worker(target, rng)
    with stopped([worker.pid] if worker else []):
        yield


@contextmanager
def stop_worker(target: Target, rng: random.Random) -> Iterator[None]:
    worker = choose_worker(target, rng)
    with stopped(worker.processes() if worker else []):
        yield


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        signal_process(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            signal_process(pid, signal.SIGCONT)


# --- the network -----------------------------------------------------------------------------


@contextmanager
def cut_network(target: Target, _rng: random.Random) -> Iterator[None]:
    target.proxy.cut()
    try:
        yield
    finally:
        target.proxy.restore()


@contextmanager
def stall_network(target: Target, rng: random.Random) -> Iterator[None]:
    target.proxy.stall()
    loses = rng.random() < 0.5
    try:
        yield
    finally:
        if loses:
            target.proxy.reset_connections()
        target.proxy.restore()


@contextmanager
def lose_data(target: Target, rng: random.Random) -> Iterator[None]:
    """Lose requests and answers at random, each with its connection."""
    target.proxy.misbehave(0.02, rng)
    try:
        yield
    finally:
        target.proxy.misbehave(0.0, rng)


# --- the server ------------------------------------------------------------------------------


@contextmanager
def crash_postgres(target: Target, _rng: random.Random) -> Iterator[None]:
    target.server.crash()
    try:
        yield
    finally:
        target.server.start()


@contextmanager
def freeze_postgres(target: Target, _rng: random.Random) -> Iterator[None]:
    if not target.server.running:  # another fault has crashed it
        yield
        return
    target.server.freeze()
    try:
        yield
    finally:
        if target.server.running:
            target.server.thaw()


@contextmanager
def session(target: Target) -> Iterator[psycopg.Connection[tuple[object, ...]] | None]:
    """A session of a fault; None while another fault keeps the server away."""
    try:
        conn = psycopg.connect(target.deployment.conninfo, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        yield None
        return
    try:
        with suppress(psycopg.OperationalError):  # a crash of the server ends sessions
            yield conn
    finally:
        conn.close()


@contextmanager
def end_sessions(target: Target, rng: random.Random) -> Iterator[None]:
    """End half of the sessions of the workers."""
    half = rng.random()
    with session(target) as conn:
        if conn is not None:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'owsuper%%' AND pid %% 2 = %s",
                [int(half * 2)],
            )
    yield


@contextmanager
def lock_runs(target: Target, rng: random.Random) -> Iterator[None]:
    """Hold locks on rows of runs that are executed."""
    count = rng.randrange(1, 20)
    with ExitStack() as stack:
        conn = stack.enter_context(session(target))
        if conn is not None:
            conn.execute("BEGIN")
            conn.execute(
                f'SELECT FROM "{target.deployment.schema}".workflow_runs'
                f" WHERE status = 'running' LIMIT {count} FOR UPDATE SKIP LOCKED".encode()
            )
        yield


@contextmanager
def lock_table(target: Target, rng: random.Random) -> Iterator[None]:
    table = rng.choice(["workflow_runs", "step_attempts"])
    with ExitStack() as stack:
        conn = stack.enter_context(session(target))
        if conn is not None:
            conn.execute("SET lock_timeout = '3s'")
            conn.execute("BEGIN")
            with suppress(psycopg.errors.LockNotAvailable):
                conn.execute(
                    f'LOCK TABLE "{target.deployment.schema}".{table}'
                    " IN ACCESS EXCLUSIVE MODE".encode()
                )
        yield


@contextmanager
def make_read_only(target: Target, _rng: random.Random) -> Iterator[None]:
    set_server(target, "default_transaction_read_only = on")
    try:
        yield
    finally:
        set_server(target, "default_transaction_read_only = off")


def set_server(target: Target, setting: str) -> None:
    """Change a setting for all sessions. Does nothing while another fault keeps the server away.

    That fault began before this one and ends after it.
    """
    with session(target) as conn:
        if conn is not None:
            conn.execute(f"ALTER SYSTEM SET {setting}".encode())
            conn.execute("SELECT pg_reload_conf()")


@contextmanager
def exhaust_connections(target: Target, _rng: random.Random) -> Iterator[None]:
    """Open connections until the server refuses more."""
    with ExitStack() as stack:
        with suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(
                    psycopg.connect(target.server.url, autocommit=True, connect_timeout=5)
                )
        yield


# --- resources of processes --------------------------------------------------------------------


@contextmanager
def exhaust_descriptors(target: Target, rng: random.Random) -> Iterator[None]:
    """Let a process of a worker open no more descriptors. Python cannot start without them."""
    worker, place = choose_worker(target, rng, ready=True), rng.random()
    pids = worker.processes() if worker else []
    with limited(pids[int(place * len(pids))] if pids else None, resource.RLIMIT_NOFILE):
        yield


@contextmanager
def limited(pid: int | None, which: int) -> Iterator[None]:
    """Limit the descriptors of a process to those that it has."""
    try:
        assert pid is not None
        used = max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()) + 1
        before = resource.prlimit(pid, which)
        resource.prlimit(pid, which, (min(used, before[1]), before[1]))
    except (AssertionError, OSError, ValueError):  # there is no such process, or no longer
        yield
        return
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, which, before)


@contextmanager
def exhaust_threads(target: Target, rng: random.Random) -> Iterator[None]:
    """Let a worker start no more threads and processes."""
    worker = choose_worker(target, rng, ready=True)
    parent = pids_group()
    group = parent / f"owsuper-soak-{worker.pid if worker else 0}"
    try:
        group.mkdir(exist_ok=True)
    except OSError as reason:
        raise NotPossible(f"limiting threads needs a cgroup of its own ({reason})") from None
    pids = worker.processes() if worker else []
    try:
        for pid in pids:
            with suppress(OSError):
                (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text((group / "pids.current").read_text())
        yield
    finally:
        (group / "pids.max").write_text("max")
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (parent / "cgroup.procs").write_text(pid)
        with suppress(OSError):
            group.rmdir()


def pids_group() -> Path:
    """The directory of this process's cgroup that limits processes and threads."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "pids" in controllers.split(","):
            return PIDS_CONTROLLER / path.lstrip("/")
    raise NotPossible("limiting threads needs the pids controller of cgroups, version 1")


FAULTS: dict[str, Fault] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        kill_child,
        kill_template,
        kill_supervisor,
        kill_worker,
        restart_worker,
        stop_child,
        stop_supervisor,
        stop_worker,
        cut_network,
        stall_network,
        lose_data,
        crash_postgres,
        freeze_postgres,
        end_sessions,
        lock_runs,
        lock_table,
        make_read_only,
        exhaust_connections,
        exhaust_descriptors,
        exhaust_threads,
        reload_worker,
    )
}
