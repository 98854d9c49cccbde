"""One session: repetition 1 of all peers, then repetition 2, and so on; recoveries at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import psycopg

from benchmarks.limits import Limits
from benchmarks.machine import QUIET, describe
from benchmarks.peers import installing, report, workloads
from benchmarks.peers.database import peer_database
from benchmarks.peers.installing import PeerError
from benchmarks.peers.records import Conditions, Measured, Record, Skipped
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.workloads import FULL, QUICK, Sizes
from benchmarks.server import Server, server

Log: TypeAlias = Callable[[str], None]

URL = "OWSUPER_DATABASE_URL"
LIMIT_SECONDS = 1
IDLE_TIMEOUT = 300.0  # seconds at most
WORKLOADS = ("throughput", "latency", "recovery")


def measure(
    given: Server, peers: Sequence[Peer], chosen: Sequence[str], sizes: Sizes, log: Log
) -> Iterator[Record]:
    """Measure the peers. A peer that cannot be measured or fails is skipped."""
    machine = describe(given)
    for warning in machine.warnings:
        log(warning)
    limits = Limits(given, LIMIT_SECONDS)
    present = []
    for peer in peers:
        try:
            installing.command(peer)
            present.append(peer)
        except PeerError as error:
            log(f"{peer.title} is skipped: {error}")
            yield Skipped(peer.title, str(error))
    guesses = {peer.title: dict(peer.guess) for peer in present}
    timed = [name for name in chosen if name != "recovery"]
    for repetition in range(sizes.repetitions if timed else 0):
        limits.take()
        for peer in present:
            log(f"repetition {repetition + 1}: {peer.title}")
            yield from _measure_once(
                given, peer, timed, sizes, repetition, guesses[peer.title], log
            )
    if "recovery" in chosen:
        log(f"killing a worker of each, and waiting up to {sizes.limit:.0f} s")
        yield from _recoveries(given, present, sizes.limit, log)
    rates = {each.key.rpartition(".")[2]: each.values for each in limits.figures()}
    yield Conditions(tuple(machine.facts), tuple(machine.warnings), rates)


def measure_all(quick: bool, log: Log) -> str:
    """Measure all peers and owsuper on the configured server. Returns the report as Markdown.

    Raises OwsuperError.
    """
    if not quick:
        _wait_until_idle(log)
    with server(os.environ.get(URL)) as given:
        sizes = QUICK if quick else FULL
        return "\n".join(report.lines(measure(given, PEERS, WORKLOADS, sizes, log)))


def _wait_until_idle(log: Log) -> None:
    """Wait until the load of the measurement before is gone, for at most IDLE_TIMEOUT seconds."""
    log("waiting until the machine is idle")
    give_up = time.monotonic() + IDLE_TIMEOUT
    while os.getloadavg()[0] > QUIET * (os.cpu_count() or 1) and time.monotonic() < give_up:
        time.sleep(1.0)


def _measure_once(
    given: Server,
    peer: Peer,
    chosen: Iterable[str],
    sizes: Sizes,
    repetition: int,
    guess: dict[int, float],
    log: Log,
) -> Iterator[Record]:
    """Measure one repetition of one peer, and replace ``guess`` by what was measured."""
    try:
        with peer_database(given, peer) as database:
            if "throughput" in chosen:
                for steps in guess:
                    runs = workloads.backlog(guess[steps], sizes.seconds)
                    for each in workloads.throughput(database, steps, runs, repetition):
                        if each.key == f"rate.{steps}":
                            guess[steps] = each.values[0] / steps
                        yield each
            if "latency" in chosen:
                yield from workloads.latency(database, sizes, repetition)
    except (PeerError, psycopg.Error) as error:
        log(f"{peer.title}: {error}")
        yield Skipped(peer.title, str(error))


def _recoveries(given: Server, peers: Sequence[Peer], limit: float, log: Log) -> Iterator[Record]:
    """Measure all peers at the same time, since they only wait."""
    with ThreadPoolExecutor(max(len(peers), 1)) as pool:
        yield from pool.map(lambda peer: _recovery(given, peer, limit, log), peers)


def _recovery(given: Server, peer: Peer, limit: float, log: Log) -> Measured | Skipped:
    try:
        with peer_database(given, peer) as database:
            measured = workloads.recovery(database, limit)
    except (PeerError, psycopg.Error) as error:
        log(f"{peer.title}: {error}")
        return Skipped(peer.title, str(error))
    log(f"{peer.title} recovered: {measured.text or f'{measured.values[0]:.2f} s'}")
    return measured
