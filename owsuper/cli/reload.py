"""``owsuper reload``: have a worker of this machine reload its code, and say how that went."""

from __future__ import annotations

import argparse
import os
import signal
import time
from typing import Final

from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.output import print_message
from owsuper.errors import ConfigurationError, OwsuperError
from owsuper.ipc import health
from owsuper.ipc.health import Answer, WorkerHealth
from owsuper.setting_types import duration
from owsuper.supervisor.exit_status import ExitCode

TIMEOUT: Final = 300.0
"""How long a reload is waited for, in seconds, unless --timeout says otherwise."""

# Seconds.
_ANSWER_TIMEOUT: Final = 10.0  # for one answer of the worker, which may be busy
_PERIOD: Final = 0.1  # between two questions

_ABOUT = """\
Sends the worker a HUP, and waits until the new code alone takes runs, or has been given up. This
is for systemctl reload (ExecReload=) and for scripts: the exit code says how it went.

Exit code: 0 if the new code serves, 1 if not. The old code then serves on, and standard error has
the reason; the traceback is in the log of the worker.

With the pid of an owsuper that has started a worker for each of several databases, all of these
workers reload; the exit code is 1 if one of them fails.

examples:
  owsuper reload                    the only worker of this user, or of this container
  owsuper reload --pid 4711         one of several
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description}\n\n{_ABOUT}"
    parser.add_argument("--pid", type=int, metavar="PID", help="of the supervisor to reload")
    parser.add_argument(
        "--timeout",
        type=typed_as(duration("1s", "1d")),
        metavar="DURATION",
        help="longest time to wait; the reload goes on after it (default: 5m)",
    )


def _run(arguments: argparse.Namespace) -> int:
    workers = _find(getattr(arguments, "pid", None))
    for pid, _ in workers:
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as error:
            raise OwsuperError(f"cannot signal worker {pid}: {error.strerror}") from None
    failures = []
    for pid, before in workers:
        after = _await_end(pid, before, getattr(arguments, "timeout", TIMEOUT))
        if after.reload_failure is None:
            print_message(f"worker {pid} has reloaded its code")
        else:
            failures.append(after.reload_failure)
    if failures:
        raise OwsuperError(f"the reload failed, the old code serves on: {failures[0]}")
    return ExitCode.CLEAN


def _await_end(pid: int, before: WorkerHealth, timeout: float) -> WorkerHealth:
    """Return the state of the worker after the reload. Raises OwsuperError."""
    give_up_at = time.monotonic() + timeout
    while (now := _ask(pid)).reloading or now.reloads == before.reloads:
        if time.monotonic() > give_up_at:
            begun = "is not done" if now.reloading else "has not begun (under nohup, none does)"
            raise OwsuperError(f"the reload of worker {pid} {begun} after {timeout:g} s")
        time.sleep(_PERIOD)
    return now


def _find(pid: int | None) -> list[tuple[int, WorkerHealth]]:
    """Return the pid and the state of each worker to reload. Raises OwsuperError."""
    answers = health.ask_workers(_ANSWER_TIMEOUT, pid)
    if pid is None and len(answers) > 1:
        shown = ", ".join(str(answer.pid) for answer in answers)
        raise ConfigurationError(f"several workers run here ({shown}): choose one by --pid")
    if pid is None and not answers:
        raise OwsuperError("no worker of this user runs here (see owsuper healthcheck)")
    if not answers:
        raise OwsuperError(f"worker {pid} has ended, or there is no worker with this pid")
    return [(answer.pid, _health_of(answer)) for answer in answers]


def _ask(pid: int) -> WorkerHealth:
    for answer in health.ask_workers(_ANSWER_TIMEOUT, pid):
        return _health_of(answer)
    raise OwsuperError(f"worker {pid} has ended, or there is no worker with this pid")


def _health_of(answer: Answer) -> WorkerHealth:
    if answer.health is None:
        raise OwsuperError(f"worker {answer.pid} does not answer")
    return answer.health


COMMAND = Command("Reload the code of a worker, and wait for that", _add_options, _run)
