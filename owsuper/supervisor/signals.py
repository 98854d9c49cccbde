"""Signals as something to read: a handler notes the number and wakes the loop, no more.

Raising from a handler would tear whatever statement it interrupted, so the loop asks for the
signals when it is ready for them.
"""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any


class SignalInbox:
    """Takes ``numbers`` over until ``close``; main thread only. Something that a Loop watches."""

    events = selectors.EVENT_READ

    def __init__(
        self, numbers: Sequence[signal.Signals], on_signal: Callable[[signal.Signals], None]
    ) -> None:
        self._on_signal = on_signal
        self._noted: list[signal.Signals] = []
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._previous: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._note) for number in numbers
        }
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def on_ready(self, _mask: int) -> None:
        """Hand over what was noted. A full wake-up buffer loses bytes but no signal."""
        try:
            while self._reader.recv(512):
                pass
        except BlockingIOError:
            pass
        while self._noted:
            self._on_signal(self._noted.pop(0))

    def asks_to_stop(self) -> bool:
        """Whether a signal to stop waits to be handed over; for whoever keeps the loop waiting."""
        return any(number is not signal.SIGCHLD for number in self._noted)

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._reader.close()
        self._writer.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(signal.Signals(number))
