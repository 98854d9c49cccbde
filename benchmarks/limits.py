"""The database's own limit: commits of one-row transactions a second, as pgbench measures them.

Without pgbench, processes with one psycopg connection each do the same. The limit is then lower
than the database's own, and the table says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psycopg
from psycopg import sql

from benchmarks import pgbench
from benchmarks.figures import Figure
from benchmarks.server import Server
from owsuper.bench.samples import schema

CLIENTS = (1, 2, 16)
START_SECONDS = 2.0  # for processes of our own to start and connect


class Limits:
    """Measured repeatedly between everything else, because machines change their speed."""

    def __init__(self, server: Server, seconds: int) -> None:
        self._server = server
        self._seconds = seconds
        self._pgbench = pgbench.find()
        self._rates: dict[int, list[float]] = {clients: [] for clients in CLIENTS}

    @property
    def tool(self) -> str:
        return "pgbench" if self._pgbench else "a psycopg loop (no pgbench here)"

    @property
    def repetitions(self) -> int:
        return len(self._rates[CLIENTS[0]])

    def figures(self) -> list[Figure]:
        return [
            Figure(
                f"limit.{clients}",
                f"limit: {self.tool}, 1-row INSERT, {clients_text(clients)}",
                "commits/s",
                values,
            )
            for clients, rates in self._rates.items()
            for values in [tuple(rates)]
        ]

    def medians(self) -> dict[int, float]:
        """The median commits a second, by number of clients."""
        return {clients: statistics.median(rates) for clients, rates in self._rates.items()}

    def take(self) -> None:
        """Measure one more repetition, for each number of clients."""
        with schema(self._server.url) as name, self._server.connect() as conn:
            table = sql.Identifier(name, "rows")
            create = sql.SQL("CREATE TABLE {} (id bigserial PRIMARY KEY, payload text)")
            conn.execute(create.format(table))
            insert = sql.SQL("INSERT INTO {} (payload) VALUES ('one row')").format(table)
            statement = insert.as_string(conn)
            self.record({clients: self._rate(statement, clients) for clients in CLIENTS})

    def record(self, taken: Mapping[int, float]) -> None:
        """Record a repetition: commits a second, by number of clients."""
        for clients, rate in taken.items():
            self._rates[clients].append(rate)

    def _rate(self, statement: str, clients: int) -> float:
        if self._pgbench is None:
            return _loop_rate(self._server.url, statement, clients, self._seconds)
        return pgbench.rate(self._pgbench, self._server.url, statement, clients, self._seconds)


def clients_text(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


def _loop_rate(url: str, statement: str, clients: int, seconds: float) -> float:
    context = get_context("spawn")
    with ProcessPoolExecutor(clients, mp_context=context) as pool:
        start = time.time() + START_SECONDS
        loops = [pool.submit(_loop, url, statement, start, seconds) for _ in range(clients)]
        return sum(loop.result() for loop in loops)


def _loop(url: str, statement: str, start: float, seconds: float) -> float:
    """Commits a second of one client. All clients begin at the time ``start``."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(statement.encode(), prepare=True)
        time.sleep(max(0.0, start - time.time()))
        count = 0
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            conn.execute(statement.encode(), prepare=True)
            count += 1
    return count / elapsed
