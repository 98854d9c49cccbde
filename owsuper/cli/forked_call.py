"""Calling a function in a process of its own, so that it can be stopped at any moment."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import BinaryIO, Final, NoReturn

from owsuper import errors
from owsuper.errors import OwsuperError

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def call(what: Callable[[], object], *, give_up: Callable[[], bool] = lambda: False) -> None:
    """Call ``what`` in a fork of this process and wait for its end. Not with threads.

    Once ``give_up()`` is true, which is asked ten times a second, the fork is killed.

    Raises the OwsuperError that it raises, of the same class and text; for any other, whose
    traceback is on standard error then, and for a violent end, an OwsuperError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    # A Ctrl-C is meant for us: it must find no copy of our handlers, nor of what they write to.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    pid = os.fork()
    if pid == 0:
        _live(what, writer, blocked)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.close(writer)
    with os.fdopen(reader, "rb") as last_words:
        given_up = not _await(last_words, give_up)
        if given_up:
            os.kill(pid, signal.SIGKILL)
        said = last_words.read()
    _, status = os.waitpid(pid, 0)
    if given_up:
        return
    if said:
        kind, message = json.loads(said)
        raise getattr(errors, kind)(message)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise OwsuperError(f"a process that was started to help ended with code {code}")


def _await(last_words: BinaryIO, give_up: Callable[[], bool]) -> bool:
    """Wait until something is said, or the other end is closed; False if given up."""
    ready = select.poll()
    ready.register(last_words, select.POLLIN)
    while not ready.poll(100):
        if give_up():
            return False
    return True


def _live(what: Callable[[], object], writer: int, blocked: set[int | signal.Signals]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        what()
        code = 0
    except OwsuperError as error:
        os.write(writer, json.dumps([type(error).__name__, str(error)]).encode())
    except BaseException:  # there is nobody above us
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
