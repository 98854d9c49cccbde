"""Calls a function in a fork of this process, so that the call can be stopped at any time."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import BinaryIO, Final, NoReturn

from owsuper import errors, shortage
from owsuper.errors import OwsuperError

_STOP_SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_POLL_MS: Final = 100  # milliseconds between two calls of ``give_up``


def call(function: Callable[[], object], *, give_up: Callable[[], bool] = lambda: False) -> None:
    """Call ``function`` in a fork of this process and wait until the fork ends.

    This process must have no other threads. ``give_up()`` is called ten times a second. When it
    returns true, the fork is killed and this function returns.

    Raises the OwsuperError that ``function`` raises, with the same class and message. For any
    other exception, whose traceback the fork prints to standard error, and for a fork that was
    killed, raises an OwsuperError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # A Ctrl-C must not run this process's handlers in the fork.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        reader, writer = os.pipe()
        pid = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        reason = shortage.describe(error)
        raise OwsuperError(f"a helper process cannot be started: {reason}") from error
    if pid == 0:
        _run_in_fork(function, writer, blocked)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.close(writer)
    with os.fdopen(reader, "rb") as report:
        given_up = not _wait_for_report(report, give_up)
        if given_up:
            os.kill(pid, signal.SIGKILL)
        reported = report.read()
    _, status = os.waitpid(pid, 0)
    if given_up:
        return
    if reported:
        kind, message = json.loads(reported)
        raise getattr(errors, kind)(message)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise OwsuperError(f"a helper process ended with code {code}; see standard error")


def _wait_for_report(report: BinaryIO, give_up: Callable[[], bool]) -> bool:
    """Wait until the fork reports an error or closes the pipe; False if ``give_up`` says so."""
    ready = select.poll()
    ready.register(report, select.POLLIN)
    while not ready.poll(_POLL_MS):
        if give_up():
            return False
    return True


def _run_in_fork(
    function: Callable[[], object], writer: int, blocked: set[int | signal.Signals]
) -> NoReturn:
    code = 1
    try:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        function()
        code = 0
    except OwsuperError as error:
        os.write(writer, json.dumps([type(error).__name__, str(error)]).encode())
    except BaseException:  # there is no caller: the process ends here
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
