"""The supervisor's own question to the database, asked by itself and timed.

The statement, the connection and its settings are those of a supervisor; the time is that from
sending it to having its answer.
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

from owsuper.bench.figures import BenchmarkError
from owsuper.bench.server import NAME
from owsuper.bench.stage import DEFAULTS, PATIENCE, Stage
from owsuper.db.claims import ClaimQueries, parse_claim
from owsuper.db.connect import conninfo
from owsuper.db.nonblocking import NonblockingConnection, Result


@dataclass(frozen=True, slots=True)
class Claim:
    """How many ``seconds`` a claim took, and how many ``runs`` it brought."""

    seconds: float
    runs: int


class Claimer:
    """Claims runs, in place of a supervisor."""

    def __init__(self, stage: Stage) -> None:
        self._queries = ClaimQueries(stage.schema, "default")
        self._link = NonblockingConnection(conninfo(stage.server.url, application_name=NAME))
        self._link.on_down = _fail
        self._link.start()

    def claim(self, workflows: Sequence[str], limit: int = 1) -> Claim:
        """One claim, for runs of these workflows. Raises BenchmarkError."""
        statement, params = self._queries.claim(
            limit,
            [(name, None) for name in workflows],
            worker_prefix="bench:",
            lease_seconds=DEFAULTS.lease,
        )
        answers: list[Result] = []
        began = time.perf_counter()
        self._link.send(statement, params, answers.append)
        while not answers:
            self._go_on()
        seconds = time.perf_counter() - began
        if answers[0].sqlstate is not None:
            raise BenchmarkError(f"a claim failed: {answers[0].message}")
        return Claim(seconds, len(parse_claim(answers[0].rows).runs))

    def median_ms(self, workflows: Sequence[str], calls: int, *, runs: int) -> float:
        """Of so many claims, each of which must bring ``runs`` runs."""
        claims = [self.claim(workflows) for _ in range(calls)]
        if any(claim.runs != runs for claim in claims):
            raise BenchmarkError(f"a claim did not bring {runs} runs")
        return statistics.median(claim.seconds for claim in claims) * 1e3

    def close(self) -> None:
        self._link.close()

    def _go_on(self) -> None:
        # A selector afresh each time: see Link.
        with DefaultSelector() as selector:
            selector.register(self._link.fileno(), self._link.events)
            ready = selector.select(PATIENCE)
        if not ready:
            raise BenchmarkError(f"a claim took more than {PATIENCE:g} s")
        for _, mask in ready:
            self._link.on_ready(mask)


@contextmanager
def claimer(stage: Stage) -> Iterator[Claimer]:
    """A Claimer that has asked before, so that its statement is prepared."""
    opened = Claimer(stage)
    try:
        for _ in range(3):
            opened.claim(["nobody-has-this-name"])
        yield opened
    finally:
        opened.close()


def _fail(exc: psycopg.OperationalError) -> NoReturn:
    raise BenchmarkError(f"the connection was lost: {exc}") from exc
