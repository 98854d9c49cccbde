"""Where one measurement takes place: a fresh schema, a client, and workers when asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString

from psycopg.conninfo import make_conninfo

from owsuper import OpenWorkflow, Worker
from owsuper.bench.figures import BenchmarkError
from owsuper.bench.scratch import execute, scratch
from owsuper.bench.server import Connection, Server
from owsuper.db.migrate import migrate
from owsuper.settings import Settings

APP = "owsuper.bench.app"
DEFAULTS = Settings()
PATIENCE = 60.0
"""Seconds that anything may take that is not itself measured."""


class Stage:
    """``ow`` is the client, ``conn`` a connection to look on with, ``began`` the server's clock
    before there were sessions of ours.
    """

    def __init__(self, server: Server, schema: str, conn: Connection) -> None:
        self.server = server
        self.schema = schema
        self.conn = conn
        self.ow = self._client(server.url)
        self.began: datetime = self.value("SELECT clock_timestamp()")

    def worker(
        self,
        processes: int,
        concurrency: int,
        *,
        url: str | None = None,
        log_level: str = "warning",
        poll_interval: str = "2s",
    ) -> Worker:
        """The ``owsuper`` command for the bench's workflows; not started yet."""
        return self._client(url or self.server.url).new_worker(
            processes=processes,
            concurrency=concurrency,
            modules=[APP],
            log_level=log_level,
            poll_interval=poll_interval,
            graceful_timeout="5s",
            # Said, so that a pyproject.toml in the working directory says nothing else.
            lease=DEFAULTS.lease,
            max_crashes=DEFAULTS.max_crashes,
            listen=True,
            migrate=True,
            preload=True,
            durable_claims=False,
        )

    def _client(self, url: str) -> OpenWorkflow:
        return OpenWorkflow(url, namespace="default", schema=self.schema, listen=True)

    @property
    def named_url(self) -> str:
        """By which sessions can be told from all others: they bear the name of the schema."""
        return make_conninfo(self.server.url, application_name=self.schema)

    def execute(self, query: LiteralString, *params: object) -> list[tuple[Any, ...]]:
        """The rows of ``query``, in which {schema} stands for the schema."""
        return execute(self.conn, query, self.schema, *params)

    def value(self, query: LiteralString, *params: object) -> Any:
        [(value,)] = self.execute(query, *params)
        return value

    def finished(self) -> int:
        """How many runs are completed."""
        return int(
            self.value(
                "SELECT count(*) FROM {schema}.workflow_runs"
                " WHERE namespace_id = 'default' AND status = 'completed'"
            )
        )

    def rate(self, begins: datetime, ends: datetime) -> float:
        """Runs a second that were completed between two times of the server's."""
        completed = self.value(
            "SELECT count(*) FROM {schema}.workflow_runs"
            " WHERE status = 'completed' AND finished_at > $1 AND finished_at <= $2",
            begins,
            ends,
        )
        return float(completed) / (ends - begins).total_seconds()

    def wait_for(self, what: str, happened: Callable[[], bool], *, pause: float = 0.02) -> None:
        """Look until it ``happened``. Raises BenchmarkError after PATIENCE without it."""
        give_up = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > give_up:
                raise BenchmarkError(f"waited {PATIENCE:g} s in vain until {what}")
            time.sleep(pause)

    def clock_offset(self) -> float:
        """How many seconds the server's clock is ahead of ours, to within half a round trip."""
        offsets = []
        for _ in range(5):
            before = time.time()
            theirs = float(self.value("SELECT extract(epoch FROM clock_timestamp())"))
            after = time.time()
            offsets.append((after - before, theirs - (before + after) / 2))
        return min(offsets)[1]


@contextmanager
def staged(server: Server) -> Iterator[Stage]:
    """A stage whose schema is dropped at the end, however that comes."""
    with scratch(server) as schema:
        with server.connect() as conn:
            migrate(conn, schema)
        with server.connect() as conn:
            stage = Stage(server, schema, conn)
            try:
                yield stage
            finally:
                stage.ow.close()
