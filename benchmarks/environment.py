"""The surroundings of one measurement: a new schema, a client, and workers on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString

from psycopg.conninfo import make_conninfo

from benchmarks.server import Connection, Server, execute
from owsuper import Worker
from owsuper.bench import samples
from owsuper.bench.samples import WAIT_SECONDS, BenchmarkError

MODULE = "benchmarks.app"


class Environment:
    """``client`` starts runs, ``conn`` is for queries of the measurement itself.

    ``began`` is the server's time before the first session of a worker.
    """

    def __init__(self, server: Server, schema: str, conn: Connection) -> None:
        self.server = server
        self.schema = schema
        self.conn = conn
        self.client = samples.new_client(server.url, schema)
        self.began: datetime = self.value("SELECT clock_timestamp()")

    def worker(
        self,
        processes: int,
        concurrency: int,
        *,
        url: str | None = None,
        module: str = MODULE,
        log_level: str = "warning",
        poll_interval: str = "2s",
        kill_grace: float = 5.0,
        retain: str | None = None,
    ) -> Worker:
        """A worker for the measured workflows; not started yet."""
        client = samples.new_client(url, self.schema) if url else self.client
        return samples.new_worker(
            client,
            concurrency,
            processes=processes,
            module=module,
            log_level=log_level,
            poll_interval=poll_interval,
            kill_grace=kill_grace,
            retain=retain,
        )

    @property
    def named_url(self) -> str:
        """A URL whose sessions can be told from all others: they carry the schema's name."""
        return make_conninfo(self.server.url, application_name=self.schema)

    def execute(self, query: LiteralString, *params: object) -> list[tuple[Any, ...]]:
        """The rows of ``query``, in which {schema} stands for the schema."""
        return execute(self.conn, query, self.schema, *params)

    def value(self, query: LiteralString, *params: object) -> Any:
        """The single value that ``query`` returns."""
        [(value,)] = self.execute(query, *params)
        return value

    def completed(self) -> int:
        """The number of completed runs."""
        return int(
            self.value(
                "SELECT count(*) FROM {schema}.workflow_runs"
                " WHERE namespace_id = 'default' AND status = 'completed'"
            )
        )

    def rate(self, begins: datetime, ends: datetime) -> float:
        """Runs completed a second between two times of the server's clock."""
        completed = self.value(
            "SELECT count(*) FROM {schema}.workflow_runs"
            " WHERE status = 'completed' AND finished_at > $1 AND finished_at <= $2",
            begins,
            ends,
        )
        return float(completed) / (ends - begins).total_seconds()

    def wait_for(self, event: str, happened: Callable[[], bool], *, pause: float = 0.02) -> None:
        """Poll until ``happened()`` is true. Raises BenchmarkError after WAIT_SECONDS."""
        give_up = time.monotonic() + WAIT_SECONDS
        while not happened():
            if time.monotonic() > give_up:
                raise BenchmarkError(f"waited {WAIT_SECONDS:g} s in vain until {event}")
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
def environment(server: Server) -> Iterator[Environment]:
    """An environment whose schema is dropped at the end, also after an error."""
    with samples.schema(server.url) as schema, server.connect() as conn:
        env = Environment(server, schema, conn)
        try:
            yield env
        finally:
            env.client.close()
