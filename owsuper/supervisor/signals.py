"""Signals as events of the loop.

A signal handler only records the signal's number and wakes the loop. An exception raised in a
handler would interrupt an arbitrary statement, so the loop handles signals between its turns.
"""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

from owsuper import signal_handlers

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class SignalInbox:
    """Handles the signals ``numbers`` until ``close``. A Loop watches it. Main thread only.

    Unblocks the signals: the program that started this process may have blocked them.
    A SIGHUP that is ignored stays so, since ``nohup`` started this process.
    """

    events = selectors.EVENT_READ

    def __init__(
        self, numbers: Sequence[signal.Signals], on_signal: Callable[[signal.Signals], None]
    ) -> None:
        self._on_signal = on_signal
        self._received: list[signal.Signals] = []
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._previous: dict[signal.Signals, Any] = {
            number: signal_handlers.install(number, self._record)
            for number in numbers
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        }
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._previous_mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._reader.fileno()

    @property
    def wakeup_fd(self) -> int:
        """The descriptor to which Python writes."""
        return self._writer.fileno()

    def on_ready(self, _mask: int) -> None:
        """Call ``on_signal`` for each recorded signal. A full wake-up buffer loses no signal."""
        try:
            while self._reader.recv(512):
                pass
        except BlockingIOError:
            pass
        while self._received:
            self._on_signal(self._received.pop(0))

    def stop_pending(self) -> bool:
        """Whether a signal to stop is recorded but not handled yet.

        For callers that keep the loop from turning.
        """
        return any(number in STOP_SIGNALS for number in self._received)

    def close(self) -> None:
        """Restore the previous handlers and the previous mask."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._previous_mask)
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            signal_handlers.remove(number, handler)
        self._reader.close()
        self._writer.close()

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(signal.Signals(number))
