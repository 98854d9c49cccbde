"""The signal handlers of a worker's process, which the processes that user code forks must not get.

A Python handler does not survive exec, but a fork inherits it, with the wake-up descriptor. In a
process that user code forks, our handlers would only set a flag that nobody reads there, so that
``multiprocessing.Process.terminate()`` had no effect. An ignored signal is worse: it stays ignored
after exec, too. So a worker's processes ignore no signal, they handle it and do nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

DUMP_SIGNAL: Final = signal.SIGURG
"""With it the supervisor asks a child for its stacks. Without a handler, it has no effect."""

KEEP_SIGNAL: Final[int] = signal.SIGRTMAX - 3 if sys.platform == "linux" else signal.SIGWINCH
"""With it the supervisor has a child keep its stacks, which it is about to kill.

Writing them may end the process (see ``child/stacks.py``), so it is no signal that others send:
terminals send SIGWINCH. macOS has no real-time signals.
"""

Handler = Callable[[int, FrameType | None], Any]

_ours: dict[signal.Signals, Handler] = {}
_fork = threading.local()  # the signal mask of a thread that is about to fork
_registered = False


def install(number: signal.Signals, handler: Handler) -> Any:
    """Handle signal ``number`` in this process, but not in its forks; return the old handler.

    Main thread only. Forks have the default disposition.
    """
    global _registered
    if not _registered:
        _registered = True
        os.register_at_fork(
            before=_block, after_in_parent=_unblock, after_in_child=_restore_defaults
        )
    _ours[number] = handler
    return signal.signal(number, handler)


def remove(number: signal.Signals, previous: Any) -> None:
    """Handle ``number`` by what ``install`` returned."""
    _ours.pop(number, None)
    signal.signal(number, signal.SIG_DFL if previous is None else previous)


def do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal that another process of the worker handles."""


def _block() -> None:
    """Hold back our signals: one that a fork got before its reset would be lost."""
    _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ours)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)


def _restore_defaults() -> None:
    # The thread that forked is the main thread of the new process, so it may set handlers.
    if any(signal.getsignal(number) == handler for number, handler in _ours.items()):
        signal.set_wakeup_fd(-1)
    for number, handler in _ours.items():
        if signal.getsignal(number) == handler:  # and not one that the application has set
            is_int = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)
    _ours.clear()
    _unblock()
