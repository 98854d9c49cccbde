"""The bell: what the trigger that notifies costs whoever inserts runs.

pgbench sends the INSERT of OpenWorkflow's client, with the trigger and without it, in turn,
while one session listens. Without pgbench there is nothing to say: a client in Python would
hide the difference.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from psycopg import sql

from owsuper.bench import pgbench
from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure, ratio
from owsuper.bench.pickup import insert_of
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged
from owsuper.db.listen import runs_channel

CLIENTS = (1, 16, 64)
PAIRS = 2  # of measurements, to a repetition


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    program = pgbench.find()
    if program is None:
        return
    with staged(server) as ringing, staged(server) as silent:
        for trigger in ("owsuper_bell", "owsuper_bell_again"):
            silent.execute(f"DROP TRIGGER {trigger} ON {{schema}}.workflow_runs")
        for clients in CLIENTS[:: effort.every]:
            rates: dict[str, list[float]] = {ringing.schema: [], silent.schema: []}
            for turn in range(PAIRS * effort.repetitions if effort.repetitions > 1 else 1):
                order = (ringing, silent) if turn % 2 else (silent, ringing)
                for stage in order:
                    rates[stage.schema].append(
                        _rate(program, stage, clients, max(1, round(effort.seconds)))
                    )
            yield from _figures(clients, rates[ringing.schema], rates[silent.schema])


def _figures(clients: int, rung: list[float], unrung: list[float]) -> Iterator[Figure]:
    name = f"bell: INSERT into workflow_runs, {clients} client{'s' if clients > 1 else ''}"
    yield Figure(f"bell.with.{clients}", f"{name}, with it", "runs/s", tuple(rung))
    yield Figure(f"bell.without.{clients}", f"{name}, without it", "runs/s", tuple(unrung))
    yield ratio(f"bell.ratio.{clients}", f"{name}, with / without", rung, unrung)


def _rate(program: str, stage: Stage, clients: int, seconds: int) -> float:
    insert = sql.SQL(insert_of("no-op")).format(schema=sql.Identifier(stage.schema))
    stage.execute("TRUNCATE {schema}.workflow_runs CASCADE")
    with _listener(stage):
        return pgbench.rate(
            program, stage.server.url, insert.as_string(stage.conn), clients, seconds
        )


@contextmanager
def _listener(stage: Stage) -> Iterator[None]:
    """Somebody who hears the bell, and does nothing about it."""
    with stage.server.connect() as conn:
        listen = sql.SQL("LISTEN {}").format(sql.Identifier(runs_channel(stage.schema, "default")))
        conn.execute(listen)
        over = threading.Event()

        def hear() -> None:
            while not over.is_set():
                for _ in conn.notifies(timeout=0.2):
                    pass

        ear = threading.Thread(target=hear, daemon=True)
        ear.start()
        try:
            yield
        finally:
            over.set()
            ear.join()
