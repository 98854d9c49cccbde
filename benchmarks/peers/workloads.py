"""The workloads, the same for all peers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.peers.database import Observation, PeerDatabase
from benchmarks.peers.installing import PeerError
from benchmarks.peers.processes import TIMEOUT, Client, PeerProcesses
from benchmarks.peers.records import Measured

POLL = 0.05  # seconds between queries of how many runs are completed
WARM_UP = 20
WARM_UP_RESULTS = 3  # some peers take seconds for each
PAUSE = (0.020, 0.050)
LEAST, MOST = 40, 60_000  # runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """``seconds`` of each backlog and of starting runs, up to ``samples`` of latencies but no
    longer than ``timeout`` seconds of each kind, ``limit`` seconds of waiting for a recovery.
    """

    repetitions: int
    seconds: float
    samples: int
    timeout: float
    limit: float


FULL = Sizes(repetitions=3, seconds=2.0, samples=50, timeout=10.0, limit=130.0)
QUICK = Sizes(repetitions=1, seconds=0.2, samples=3, timeout=5.0, limit=5.0)


def throughput(
    database: PeerDatabase, steps: int, runs: int, repetition: int
) -> Iterator[Measured]:
    """Measure a backlog that two processes complete.

    The rate and the bytes of WAL are those between its first tenth and its last twentieth; the
    transactions are those of the workers' whole life.
    """
    processes = database.processes
    processes.run("backlog", str(runs), str(steps))
    database.analyze()
    before = database.transactions()
    with database.observe() as observation, processes.workers():
        (begun, first, had), (ended, last, used) = _window(processes, observation, runs)
    commits = (database.transactions() - before) / runs
    done = last - first
    for key, value in (
        (f"rate.{steps}", done * steps / (ended - begun)),
        (f"commits.{steps}", commits),
        (f"wal.{steps}", (used - had) / done),
    ):
        yield Measured(processes.peer.title, key, (value,), repetition)


def latency(database: PeerDatabase, sizes: Sizes, repetition: int) -> Iterator[Measured]:
    """Measure single runs while the workers are idle, and then how fast runs are started."""
    processes = database.processes
    with processes.workers(gracefully=False), processes.client() as client:
        for _ in range(min(WARM_UP, 2 * sizes.samples)):
            _pickup(processes, client)
        pickups = _samples(lambda: _pickup(processes, client), sizes)
        yield Measured(processes.peer.title, "pickup", pickups, repetition)
        if processes.peer.results:
            for _ in range(WARM_UP_RESULTS):
                _roundtrip(client)
            roundtrips = _samples(lambda: _roundtrip(client), sizes)
            yield Measured(processes.peer.title, "result", roundtrips, repetition)
        answer = client.ask(f"enqueue {sizes.seconds}", TIMEOUT + sizes.seconds)
        rate = answer["count"] / answer["seconds"]
        yield Measured(processes.peer.title, "enqueue", (rate,), repetition)


def recovery(database: PeerDatabase, limit: float) -> Measured:
    """Seconds from the SIGKILL of the process that executes a step to that step running again."""
    processes = database.processes
    with processes.workers(gracefully=False), processes.client() as client:
        _pickup(processes, client)
        time.sleep(1.0)
        client.ask("start hang")
        killed_process = processes.report()
        killed = time.time()
        os.kill(killed_process.pid, signal.SIGKILL)
        with contextlib.suppress(PeerError):
            again = processes.report(limit, all_live=False)
            return Measured(processes.peer.title, "recovery", (again.at - killed,), 0)
    return Measured(processes.peer.title, "recovery", (), 0, f"more than {limit:.0f} s")


def _window(
    processes: PeerProcesses, observation: Observation, runs: int
) -> list[tuple[float, int, float]]:
    """The two ends of the window: time, completed runs, bytes of WAL.

    Returns when all runs are completed.
    """
    window: list[tuple[float, int, float]] = []
    seen, changed = 0, time.monotonic()
    while seen < runs:
        done, now = runs - observation.remaining(), time.monotonic()
        if done > seen:
            seen, changed = done, now
            goal = max(0.95 * runs, window[0][1] + 1) if window else 0.10 * runs
            if len(window) < 2 and done >= goal:
                window.append((time.perf_counter(), done, observation.wal_bytes()))
        elif now > changed + TIMEOUT:
            raise processes.failed(f"{done} of {runs} runs were completed, and then no more")
        processes.check()
        time.sleep(POLL)
    if len(window) < 2:
        raise PeerError(f"{runs} runs were over before they could be observed")
    return window


def _samples(take: Callable[[], float], sizes: Sizes) -> tuple[float, ...]:
    give_up = time.monotonic() + sizes.timeout
    samples = [take()]
    while len(samples) < sizes.samples and time.monotonic() < give_up:
        samples.append(take())
    return tuple(samples)


def _pickup(processes: PeerProcesses, client: Client) -> float:
    """Seconds from the call that starts a run to the first line of its step.

    The pause before is irregular, so that it does not coincide with polling.
    """
    time.sleep(random.uniform(*PAUSE))
    called = client.ask("start stamp")["called"]
    return processes.report().at - called


def _roundtrip(client: Client) -> float:
    time.sleep(random.uniform(*PAUSE))
    return client.ask("roundtrip")["seconds"]


def backlog(rate: float, seconds: float) -> int:
    """The number of runs that are completed in ``seconds`` at ``rate`` runs a second."""
    return round(min(max(rate * seconds, LEAST), MOST))
