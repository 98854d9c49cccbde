"""Calls the functions of ``on_child_start`` and ``on_child_stop``, in the child's main thread.

What an ``async def`` function returns is awaited on the event loop of async workflows.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from owsuper.child import process_exit
from owsuper.child.loader import LoadError, is_shortage, user_traceback
from owsuper.child.loop_thread import LoopThread
from owsuper.child.shortage import NoThread
from owsuper.child.spec import Hooks
from owsuper.child.threads import insist
from owsuper.ipc.messages import SHORTAGE

_log = logging.getLogger("owsuper.child")

_STOP_TIMEOUT: Final = 5.0  # seconds, as exit handlers have


def start(hooks: Hooks, loop_thread: LoopThread) -> None:
    """Call the functions of ``on_child_start``, in the order of their definition.

    Raises LoadError for one that raises, NoThread if the event loop gets no thread.
    """
    for hook in hooks.start:
        try:
            _call(hook, loop_thread)
        except NoThread:
            raise
        except BaseException as exc:  # as for an import
            raise LoadError(
                SHORTAGE if is_shortage(exc) else "hook",
                f"{_name(hook)}, which on_child_start calls, raised {type(exc).__name__}: {exc}",
                traceback=user_traceback(exc),
            ) from exc


def stop(hooks: Hooks, loop_thread: LoopThread, exit_code: int | None) -> None:
    """Call the functions of ``on_child_stop``, the latest first, and log what they raise.

    After five seconds the process leaves with ``exit_code``, after its exit handlers, unless that
    is None.
    """
    give_up_at = time.monotonic() + _STOP_TIMEOUT
    for hook in reversed(hooks.stop):
        try:
            left = give_up_at - time.monotonic()
            with nullcontext() if exit_code is None else _limit(hook, left, exit_code):
                _call(hook, loop_thread)
        except BaseException as exc:
            _log.error(
                "%s, which on_child_stop calls, raised %s: %s\n%s",
                _name(hook),
                type(exc).__name__,
                exc,
                user_traceback(exc).rstrip(),
            )


def _call(hook: Callable[[], object], loop_thread: LoopThread) -> None:
    result = hook()
    if inspect.isawaitable(result):
        error = loop_thread.begin(_await(result)).result()
        if error is not None:
            raise error


async def _await(awaitable: Awaitable[Any]) -> BaseException | None:
    """Return what ``awaitable`` raises: the event loop would end by a SystemExit."""
    try:
        await awaitable
    except BaseException as exc:
        return exc
    return None


@contextmanager
def _limit(hook: Callable[[], object], seconds: float, exit_code: int) -> Iterator[None]:
    """Leave the process if the block takes longer than ``seconds``. Raises NoThread."""

    def leave() -> None:
        _log.error(
            "%s, which on_child_stop calls, was not done %g s after the last run; exiting without"
            " the functions that are left",
            _name(hook),
            _STOP_TIMEOUT,
        )
        process_exit.leave_beside_main(exit_code)

    timer = threading.Timer(max(0.0, seconds), leave)
    timer.daemon = True
    insist(timer.start)  # or nothing would bound the function
    try:
        yield
    finally:
        timer.cancel()


def _name(hook: Callable[[], object]) -> str:
    return f"{hook.__module__}.{getattr(hook, '__qualname__', hook)}"
