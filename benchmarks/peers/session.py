"""One session: repetition 1 of everybody, then repetition 2, and so on; recoveries at the end."""

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
from benchmarks.peers.installing import PeerError
from benchmarks.peers.records import Measured, Record, Skipped, Surroundings
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.stage import staged
from benchmarks.peers.workloads import FULL, QUICK, Effort
from benchmarks.server import Server, server

Say: TypeAlias = Callable[[str], None]

URL = "OWSUPER_DATABASE_URL"
LIMIT_SECONDS = 1
REST = 300.0  # seconds at most
WORKLOADS = ("throughput", "latency", "recovery")


def measure(
    given: Server, peers: Sequence[Peer], chosen: Sequence[str], effort: Effort, say: Say
) -> Iterator[Record]:
    """A peer that cannot be measured is skipped; whoever fails at something else is too."""
    machine = describe(given)
    for warning in machine.warnings:
        say(warning)
    limits = Limits(given, LIMIT_SECONDS)
    present = []
    for peer in peers:
        try:
            installing.command(peer)
            present.append(peer)
        except PeerError as error:
            say(f"{peer.title} is skipped: {error}")
            yield Skipped(peer.title, str(error))
    guesses = {peer.title: dict(peer.guess) for peer in present}
    timed = [name for name in chosen if name != "recovery"]
    for repetition in range(effort.repetitions if timed else 0):
        limits.take()
        for peer in present:
            say(f"repetition {repetition + 1}: {peer.title}")
            yield from _one(given, peer, timed, effort, repetition, guesses[peer.title], say)
    if "recovery" in chosen:
        say(f"killing a worker of each, and waiting up to {effort.limit:.0f} s")
        yield from _recoveries(given, present, effort.limit, say)
    rates = {each.key.rpartition(".")[2]: each.values for each in limits.figures()}
    yield Surroundings(tuple(machine.facts), tuple(machine.warnings), rates)


def measure_all(quick: bool, say: Say) -> str:
    """All peers and owsuper, on the server that is configured: the report, as Markdown.

    Raises OwsuperError.
    """
    if not quick:
        _rest(say)
    with server(os.environ.get(URL)) as given:
        effort = QUICK if quick else FULL
        return "\n".join(report.lines(measure(given, PEERS, WORKLOADS, effort, say)))


def _rest(say: Say) -> None:
    """Wait until the load that the measurement before has left is forgotten, or does not go."""
    say("letting the machine come to rest")
    give_up = time.monotonic() + REST
    while os.getloadavg()[0] > QUIET * (os.cpu_count() or 1) and time.monotonic() < give_up:
        time.sleep(1.0)


def _one(
    given: Server,
    peer: Peer,
    chosen: Iterable[str],
    effort: Effort,
    repetition: int,
    guess: dict[int, float],
    say: Say,
) -> Iterator[Record]:
    """One repetition of one peer; ``guess`` becomes what was measured."""
    try:
        with staged(given, peer) as stage:
            if "throughput" in chosen:
                for steps in guess:
                    runs = workloads.backlog(guess[steps], effort.seconds)
                    for each in workloads.throughput(stage, steps, runs, repetition):
                        if each.key == f"rate.{steps}":
                            guess[steps] = each.values[0] / steps
                        yield each
            if "latency" in chosen:
                yield from workloads.latency(stage, effort, repetition)
    except (PeerError, psycopg.Error) as error:
        say(f"{peer.title}: {error}")
        yield Skipped(peer.title, str(error))


def _recoveries(given: Server, peers: Sequence[Peer], limit: float, say: Say) -> Iterator[Record]:
    """All at the same time: there is nothing to do but to wait."""
    with ThreadPoolExecutor(max(len(peers), 1)) as pool:
        yield from pool.map(lambda peer: _recovery(given, peer, limit, say), peers)


def _recovery(given: Server, peer: Peer, limit: float, say: Say) -> Measured | Skipped:
    try:
        with staged(given, peer) as stage:
            measured = workloads.recovery(stage, limit)
    except (PeerError, psycopg.Error) as error:
        say(f"{peer.title}: {error}")
        return Skipped(peer.title, str(error))
    say(f"{peer.title} recovered: {measured.text or f'{measured.values[0]:.2f} s'}")
    return measured
