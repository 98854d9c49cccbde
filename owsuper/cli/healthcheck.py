"""``owsuper healthcheck``: whether the workers of this machine, and their database, are well."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

from owsuper import setting_sources
from owsuper.cli.arguments import Command, add_settings, flags, typed_as
from owsuper.cli.output import print_data, print_json
from owsuper.errors import MigrationError, OwsuperError
from owsuper.ipc import health
from owsuper.ipc.health import Answer, WorkerHealth
from owsuper.setting_types import duration
from owsuper.settings import Settings
from owsuper.supervisor.exit_status import ExitCode

_TIMEOUT: Final = 5.0  # seconds

_ABOUT = """\
Three questions, each with more in it than the one before:

  --live     Does the worker answer? For liveness probes: an outage of the database, for which
             a worker waits, must not have it restarted.
  --ready    ... and does it take runs? At least one child process is ready, the database is
             connected, and the worker neither starts nor stops. For readiness and startup probes.
  (neither)  ... and does a connection from here find the database, with all tables? For people.

All workers of this machine that belong to this user are asked, or those in this container; root
asks the workers of all users. --pid asks one, or all that an owsuper with several databases has
started. Workers can be asked on Linux only.

Exit code: 0 if all is well, 1 if not. Standard output: one line for each check.

examples:
  owsuper healthcheck
  owsuper healthcheck --live --timeout 10s
  owsuper healthcheck --ready --pid "$(systemctl show --value --property MainPID owsuper)"
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result. ``worker`` is what a worker said about itself."""

    name: str
    healthy: bool
    detail: str
    worker: WorkerHealth | None = None

    def __str__(self) -> str:
        return f"{self.name}: {'ok' if self.healthy else 'FAILED'}: {self.detail}"


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description}\n\n{_ABOUT}"
    level = parser.add_mutually_exclusive_group()
    level.add_argument("--live", action="store_true", help="only: does the worker answer?")
    level.add_argument("--ready", action="store_true", help="only: does the worker take runs?")
    parser.add_argument("--pid", type=int, metavar="PID", help="of the one supervisor to ask")
    parser.add_argument(
        "--timeout",
        type=typed_as(duration("100ms", "10m")),
        metavar="DURATION",
        help=f"longest time for an answer, of a worker or the database (default: {_TIMEOUT:g}s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_settings(parser, ("database_url", "schema"))


def _run(arguments: argparse.Namespace) -> int:
    timeout = getattr(arguments, "timeout", _TIMEOUT)
    answers = health.ask_workers(timeout, getattr(arguments, "pid", None))
    checks = _check_workers(answers, getattr(arguments, "pid", None), live="live" in arguments)
    if not ("live" in arguments or "ready" in arguments):
        checks += _check_database(setting_sources.load(flags(arguments)), answers, timeout)
    healthy = all(check.healthy for check in checks)
    if "json" in arguments:
        print_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    else:
        print_data("\n".join(map(str, checks)))
    return ExitCode.CLEAN if healthy else ExitCode.ERROR


def _check_workers(answers: Sequence[Answer], pid: int | None, *, live: bool) -> list[Check]:
    if not answers:
        sought = "no worker of this user runs here" if pid is None else "this is no worker's pid"
        return [Check("worker" if pid is None else f"worker {pid}", False, sought)]
    return [_check_worker(answer, live=live) for answer in answers]


def _check_worker(answer: Answer, *, live: bool) -> Check:
    name, said = f"worker {answer.pid}", answer.health
    if said is None:
        return Check(name, False, "it does not answer in time")
    if live or said.takes_runs:
        return Check(name, True, said.status, said)
    return Check(name, False, f"it takes no runs: {said.status}", said)


def _check_database(chosen: Settings, answers: Sequence[Answer], timeout: float) -> list[Check]:
    """Connect to the database, and look for the tables of each schema that the workers use."""
    if chosen.database_url is None:
        return [Check("database", True, "not asked: set OWSUPER_DATABASE_URL to connect from here")]
    named = {chosen.schema} if "schema" in chosen.given else set[str]()
    schemas = named or {each.health.schema for each in answers if each.health} or {chosen.schema}
    try:
        answered = _within(timeout, partial(_look_for_tables, chosen.database_url, schemas))
    except MigrationError as error:
        return [Check("database", True, "it answers"), Check("tables", False, str(error))]
    except OwsuperError as error:
        return [Check("database", False, str(error))]
    if not answered:
        return [Check("database", False, f"it does not answer within {timeout:g} s")]
    shown = ", ".join(f'"{schema}"' for schema in sorted(schemas))
    there = Check("tables", True, f"they are up to date in schema {shown}")
    return [Check("database", True, "it answers"), there]


def _look_for_tables(url: str, schemas: Collection[str]) -> None:
    from owsuper.cli import database  # loads the driver, which probes need not pay for

    for schema in sorted(schemas):
        database.prepare(url, schema, migrate=False)


def _within(timeout: float, function: Callable[[], None]) -> bool:
    """Call ``function`` in a fork; return False if that is not done within ``timeout`` seconds.

    Nothing else ends every wait: for a name server, a frozen database, a lock.
    """
    give_up_at = time.monotonic() + timeout
    given_up = False

    def give_up() -> bool:
        nonlocal given_up
        given_up = time.monotonic() > give_up_at
        return given_up

    from owsuper.cli import forked_call

    forked_call.call(function, give_up=give_up)
    return not given_up


COMMAND = Command("Check the workers of this machine, and their database", _add_options, _run)
