"""The peers that are measured, with their versions and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """``packages`` are for pip, or for npm where ``tool`` is "npm"; none: it is here already.

    ``remaining`` is a query for the number of runs that are not completed. ``workers`` is the
    number of commands that make two executing processes. ``guess`` maps steps a run to runs a
    second, from which the first backlog's size follows; it has one step alone where there are no
    steps. ``settings`` describes the choices, for the table.
    """

    name: str
    program: str
    remaining: str
    settings: str
    guess: Mapping[int, float]
    version: str = ""
    packages: tuple[str, ...] = ()
    tool: str = "pip"
    least_python: tuple[int, int] = (3, 11)
    workers: int = 2
    slots: int = 16
    results: bool = True
    recovers: str = ""

    @property
    def path(self) -> Path:
        return PROGRAMS / self.program

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}".strip()


_OURS = "SELECT count(*) FROM openworkflow.workflow_runs WHERE status <> 'completed'"

PEERS = (
    Peer(
        name="owsuper",
        program="run_owsuper.py",
        remaining=_OURS,
        settings="one worker with --processes 2 --concurrency 16; 16 asyncio callers",
        guess={1: 3500.0, 10: 300.0},
        workers=1,
    ),
    Peer(
        name="owsuper, 1 slot",
        program="run_owsuper.py",
        remaining=_OURS,
        settings="the same with --concurrency 1",
        guess={1: 1300.0, 10: 150.0},
        workers=1,
        slots=1,
    ),
    Peer(
        name="OpenWorkflow TS",
        version="0.10.1",
        program="run_openworkflow.mjs",
        packages=("openworkflow@0.10.1", "postgres@3.4.9"),
        tool="npm",
        remaining=_OURS,
        settings="concurrency 16, pools of 20 connections; it polls every 0.1 to 1 s, its results "
        "every 1 s, and neither can be set",
        guess={1: 290.0, 10: 110.0},
    ),
    Peer(
        name="OpenWorkflow TS, 1 slot",
        version="0.10.1",
        program="run_openworkflow.mjs",
        packages=("openworkflow@0.10.1", "postgres@3.4.9"),
        tool="npm",
        remaining=_OURS,
        settings="the same with concurrency 1, which is its default",
        guess={1: 25.0, 10: 15.0},
        slots=1,
    ),
    Peer(
        name="DBOS",
        version="3.4.0",
        program="run_dbos.py",
        packages=("dbos==3.4.0",),
        remaining="SELECT count(*) FROM dbos.workflow_status WHERE status <> 'SUCCESS'",
        settings="worker_concurrency 16, queue and results polled every 50 ms (defaults: 1 s)",
        guess={1: 95.0, 10: 17.0},
        recovers="only when its executor is started again",
    ),
    Peer(
        name="absurd",
        version="0.5.1",
        program="run_absurd.py",
        packages=("absurd-sdk==0.5.1", "absurdctl==0.5.1", "psycopg[binary]==3.3.9"),
        remaining="SELECT count(*) FROM absurd.t_bench WHERE state <> 'completed'",
        settings="concurrency 16 (threads), polled every 50 ms (default: 250 ms), claims of 120 s",
        guess={1: 250.0, 10: 70.0},
    ),
    Peer(
        name="pgtask",
        version="0.4.0",
        program="run_pgtask.py",
        packages=("pgtask==0.4.0", "uvloop==0.23.0"),
        remaining="SELECT count(*) FROM pgtask.tasks WHERE state <> 'succeeded'",
        settings="concurrency 16 (asyncio), uvloop, LISTEN, pools of 16 connections, 30 s leases",
        guess={1: 1500.0, 10: 250.0},
    ),
    Peer(
        name="Procrastinate",
        version="3.10.0",
        program="run_procrastinate.py",
        packages=("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
        remaining="SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'",
        settings="concurrency 16 (asyncio), LISTEN, pools of 16 connections",
        guess={1: 400.0},
        results=False,
        recovers="only by a periodic task that the application writes",
    ),
    Peer(
        name="PgQueuer",
        version="1.6.0",
        program="run_pgqueuer.py",
        packages=("pgqueuer==1.6.0", "asyncpg==0.31.0", "uvloop==0.23.0"),
        remaining="SELECT count(*) FROM pgqueuer",
        settings="batch_size 200 (batched acks), asyncpg and uvloop, LISTEN, 30 s heartbeat",
        guess={1: 7000.0},
    ),
    Peer(
        name="Oban",
        version="0.7.0",
        program="run_oban.py",
        packages=("oban==0.7.0", "uvloop==0.23.0"),
        least_python=(3, 12),
        remaining="SELECT count(*) FROM oban_jobs WHERE state <> 'completed'",
        settings="queue limit 200 a process (batched acks), uvloop, LISTEN, rescue_after 300 s",
        guess={1: 3300.0},
        results=False,
    ),
)
