"""The cost of the trigger that notifies, for every INSERT of a run.

pgbench sends the INSERT of OpenWorkflow's client, with the trigger and without it, in turn, while
one session listens. Nothing is measured without pgbench: a client in Python would hide the
difference.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from psycopg import sql

from benchmarks import pgbench
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, ratio
from benchmarks.scenarios.pickup import insert_of
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.db.listen import runs_channel

CLIENTS = (1, 16, 64)
PAIRS = 2  # of measurements in a repetition


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    program = pgbench.find()
    if program is None:
        return
    with environment(server) as notifying, environment(server) as silent:
        for trigger in ("owsuper_bell", "owsuper_bell_again"):
            silent.execute(f"DROP TRIGGER {trigger} ON {{schema}}.workflow_runs")
        for clients in CLIENTS[:: sizes.case_step]:
            rates: dict[str, list[float]] = {notifying.schema: [], silent.schema: []}
            for turn in range(PAIRS * sizes.repetitions if sizes.repetitions > 1 else 1):
                order = (notifying, silent) if turn % 2 else (silent, notifying)
                for env in order:
                    rates[env.schema].append(
                        _rate(program, env, clients, max(1, round(sizes.seconds)))
                    )
            yield from _figures(clients, rates[notifying.schema], rates[silent.schema])


def _figures(clients: int, notifying: list[float], silent: list[float]) -> Iterator[Figure]:
    shown = f"{clients} client{'s' if clients > 1 else ''}"
    name = f"NOTIFY trigger: INSERT into workflow_runs, {shown}"
    yield Figure(f"notify.with.{clients}", f"{name}, with it", "runs/s", tuple(notifying))
    yield Figure(f"notify.without.{clients}", f"{name}, without it", "runs/s", tuple(silent))
    yield ratio(f"notify.ratio.{clients}", f"{name}, with / without", notifying, silent)


def _rate(program: str, env: Environment, clients: int, seconds: int) -> float:
    insert = sql.SQL(insert_of("no-op")).format(schema=sql.Identifier(env.schema))
    env.execute("TRUNCATE {schema}.workflow_runs CASCADE")
    with _listener(env):
        return pgbench.rate(program, env.server.url, insert.as_string(env.conn), clients, seconds)


@contextmanager
def _listener(env: Environment) -> Iterator[None]:
    """A session that receives the notifications and ignores them."""
    with env.server.connect() as conn:
        channel = sql.Identifier(runs_channel(env.schema, "default"))
        conn.execute(sql.SQL("LISTEN {}").format(channel))
        over = threading.Event()

        def receive() -> None:
            while not over.is_set():
                for _ in conn.notifies(timeout=0.2):
                    pass

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        try:
            yield
        finally:
            over.set()
            receiver.join()
