"""What is done to each peer, and the same to all of them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.peers.installing import PeerError
from benchmarks.peers.records import Measured
from benchmarks.peers.running import PATIENCE, Client, Crew
from benchmarks.peers.stage import Look, Stage

POLL = 0.05  # seconds between looks at how many runs are completed
WARM_UP = 20
WARM_UP_RESULTS = 3  # some take seconds each
PAUSE = (0.020, 0.050)
LEAST, MOST = 40, 60_000  # runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """``seconds`` of each backlog and of starting runs, up to ``samples`` of latencies but no
    longer than ``patience`` seconds of each kind, ``limit`` seconds of waiting for a recovery.
    """

    repetitions: int
    seconds: float
    samples: int
    patience: float
    limit: float


FULL = Effort(repetitions=3, seconds=2.0, samples=50, patience=10.0, limit=130.0)
QUICK = Effort(repetitions=1, seconds=0.2, samples=3, patience=5.0, limit=5.0)


def throughput(stage: Stage, steps: int, runs: int, repetition: int) -> Iterator[Measured]:
    """A backlog that two processes work off: the rate between its first tenth and its last
    twentieth, the bytes of WAL in that time, and the transactions of the workers' whole life.
    """
    crew = stage.crew
    crew.run("backlog", str(runs), str(steps))
    stage.analyze()
    before = stage.transactions()
    with stage.look() as look, crew.workers():
        (begun, first, had), (ended, last, used) = _window(crew, look, runs)
    commits = (stage.transactions() - before) / runs
    done = last - first
    for key, value in (
        (f"rate.{steps}", done * steps / (ended - begun)),
        (f"commits.{steps}", commits),
        (f"wal.{steps}", (used - had) / done),
    ):
        yield Measured(crew.peer.title, key, (value,), repetition)


def latency(stage: Stage, effort: Effort, repetition: int) -> Iterator[Measured]:
    """Of single runs while the workers are idle; and then how fast runs can be started."""
    crew = stage.crew
    with crew.workers(gently=False), crew.client() as client:
        for _ in range(min(WARM_UP, 2 * effort.samples)):
            _pickup(crew, client)
        pickups = _samples(lambda: _pickup(crew, client), effort)
        yield Measured(crew.peer.title, "pickup", pickups, repetition)
        if crew.peer.results:
            for _ in range(WARM_UP_RESULTS):
                _roundtrip(client)
            roundtrips = _samples(lambda: _roundtrip(client), effort)
            yield Measured(crew.peer.title, "result", roundtrips, repetition)
        answer = client.ask(f"enqueue {effort.seconds}", PATIENCE + effort.seconds)
        rate = answer["count"] / answer["seconds"]
        yield Measured(crew.peer.title, "enqueue", (rate,), repetition)


def recovery(stage: Stage, limit: float) -> Measured:
    """Seconds from the SIGKILL of the process that executes a step to that step running again."""
    crew = stage.crew
    with crew.workers(gently=False), crew.client() as client:
        _pickup(crew, client)
        time.sleep(1.0)
        client.ask("start hang")
        victim = crew.report()
        killed = time.time()
        os.kill(victim.pid, signal.SIGKILL)
        with contextlib.suppress(PeerError):
            again = crew.report(limit, all_live=False)
            return Measured(crew.peer.title, "recovery", (again.at - killed,), 0)
    return Measured(crew.peer.title, "recovery", (), 0, f"more than {limit:.0f} s")


def _window(crew: Crew, look: Look, runs: int) -> list[tuple[float, int, float]]:
    """When, how many runs were completed, bytes of WAL; returns when all runs are completed."""
    window: list[tuple[float, int, float]] = []
    seen, changed = 0, time.monotonic()
    while seen < runs:
        done, now = runs - look.remaining(), time.monotonic()
        if done > seen:
            seen, changed = done, now
            goal = max(0.95 * runs, window[0][1] + 1) if window else 0.10 * runs
            if len(window) < 2 and done >= goal:
                window.append((time.perf_counter(), done, look.wal_bytes()))
        elif now > changed + PATIENCE:
            raise crew.failed(f"{done} of {runs} runs were completed, and then no more")
        crew.check()
        time.sleep(POLL)
    if len(window) < 2:
        raise PeerError(f"{runs} runs were over before they could be watched")
    return window


def _samples(take: Callable[[], float], effort: Effort) -> tuple[float, ...]:
    give_up = time.monotonic() + effort.patience
    samples = [take()]
    while len(samples) < effort.samples and time.monotonic() < give_up:
        samples.append(take())
    return tuple(samples)


def _pickup(crew: Crew, client: Client) -> float:
    """Seconds from the call that starts a run to the first line of its step.

    After a pause of irregular length, so as not to keep in step with anybody's polling.
    """
    time.sleep(random.uniform(*PAUSE))
    called = client.ask("start stamp")["called"]
    return crew.report().at - called


def _roundtrip(client: Client) -> float:
    time.sleep(random.uniform(*PAUSE))
    return client.ask("roundtrip")["seconds"]


def backlog(rate: float, seconds: float) -> int:
    """As many runs as are worked off in ``seconds`` at ``rate`` runs a second."""
    return round(min(max(rate * seconds, LEAST), MOST))
