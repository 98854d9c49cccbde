"""The cost of a claim: the supervisor's statement, on a supervisor's connection, timed.

The time is that from sending the statement to having its answer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from selectors import DefaultSelector
from typing import NoReturn

import psycopg

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, ratio
from benchmarks.fill import DUE, fill
from benchmarks.server import APPLICATION_NAME, Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import WAIT_SECONDS, BenchmarkError
from owsuper.db.claims import ClaimQueries, parse_claim
from owsuper.db.connect import conninfo
from owsuper.db.nonblocking import NonblockingConnection
from owsuper.db.statement import Result
from owsuper.settings import Settings

UNKNOWN = "idle"  # a workflow that no run belongs to


@dataclass(frozen=True, slots=True)
class TimedClaim:
    """A claim that took so many ``seconds`` and returned so many ``runs``."""

    seconds: float
    runs: int


class ClaimProbe:
    """Claims runs in place of a supervisor."""

    def __init__(self, env: Environment) -> None:
        self._queries = ClaimQueries(env.schema, "default")
        info = conninfo(env.server.url, application_name=APPLICATION_NAME)
        self._connection = NonblockingConnection(info)
        self._connection.on_disconnect = _fail
        self._connection.start()

    def claim(
        self, workflows: Sequence[str], limit: int = 1, *, limited: bool = False
    ) -> TimedClaim:
        """Claim runs of these workflows, once; they have limits or not. Raises BenchmarkError."""
        query = self._queries.claim_limited if limited else self._queries.claim
        statement, params = query(
            limit,
            [(name, None) for name in workflows],
            worker_prefix="bench:",
            lease_seconds=Settings().lease,
        )
        answers: list[Result] = []
        began = time.perf_counter()
        self._connection.send(statement, params, answers.append)
        while not answers:
            self._await_readiness()
        seconds = time.perf_counter() - began
        if answers[0].sqlstate is not None:
            raise BenchmarkError(f"a claim failed: {answers[0].message}")
        return TimedClaim(seconds, len(parse_claim(answers[0].rows).runs))

    def median_ms(
        self, workflows: Sequence[str], calls: int, *, runs: int, limited: bool = False
    ) -> float:
        """The median of this many claims, each of which must return ``runs`` runs."""
        claims = [self.claim(workflows, limited=limited) for _ in range(calls)]
        if any(claim.runs != runs for claim in claims):
            raise BenchmarkError(f"a claim did not return {runs} runs")
        return statistics.median(claim.seconds for claim in claims) * 1e3

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _await_readiness(self) -> None:
        # A new selector each time, because the connection's socket may change.
        with DefaultSelector() as selector:
            selector.register(self._connection.fileno(), self._connection.events)
            ready = selector.select(WAIT_SECONDS)
        if not ready:
            raise BenchmarkError(f"a claim took more than {WAIT_SECONDS:g} s")
        for _, mask in ready:
            self._connection.on_ready(mask)


@contextmanager
def claim_probe(env: Environment) -> Iterator[ClaimProbe]:
    """A ClaimProbe whose statement is prepared already."""
    probe = ClaimProbe(env)
    try:
        for _ in range(3):
            probe.claim(["unknown"])
        yield probe
    finally:
        probe.close()


def _fail(exc: psycopg.OperationalError) -> NoReturn:
    raise BenchmarkError(f"the connection was lost: {exc}") from exc


# --- beside an empty table ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClaimKind:
    """A claim for these ``workflows`` that returns so many ``runs``, 0 or 1."""

    name: str
    workflows: Sequence[str]
    runs: int


CLAIM = ClaimKind("claim", ("backlog",), 1)
IDLE_POLL = ClaimKind("idle poll", (UNKNOWN,), 0)


def runs_needed(sizes: Sizes) -> int:
    """How many due runs of ``backlog`` one comparison of claims uses up."""
    return sizes.repetitions * sizes.calls


def compare(
    server: Server,
    full: Environment,
    sizes: Sizes,
    key: str,
    name: str,
    kinds: Sequence[ClaimKind],
) -> Iterator[Figure]:
    """Figures of each of ``kinds`` in ``full`` and in an almost empty schema, in turn."""
    with environment(server) as empty:
        fill(empty, DUE, runs_needed(sizes) * sum(kind.runs for kind in kinds) or 1)
        with claim_probe(full) as full_probe, claim_probe(empty) as empty_probe:
            for kind in kinds:
                yield from _figures(full_probe, empty_probe, kind, key, name, sizes)


def _figures(
    full_probe: ClaimProbe,
    empty_probe: ClaimProbe,
    kind: ClaimKind,
    key: str,
    name: str,
    sizes: Sizes,
) -> Iterator[Figure]:
    full: list[float] = []
    empty: list[float] = []
    for turn in range(sizes.repetitions):
        order = [(full_probe, full), (empty_probe, empty)]
        for probe, costs in order if turn % 2 else reversed(order):
            costs.append(probe.median_ms(kind.workflows, sizes.calls, runs=kind.runs))
    slug = f"{key}.{kind.name.replace(' ', '_')}"
    yield Figure(f"{slug}.ms", f"{kind.name}, {name}", "ms", tuple(full))
    yield ratio(f"{slug}.ratio", f"{kind.name}, {name} / an empty one", full, empty)
