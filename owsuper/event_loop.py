"""The event loop of a process that must not block: one selector, and the timers beside it.

The supervisor and the main thread of every child process wait here and nowhere else.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

NEVER: Final = float("inf")
_BUFFER: Final = 512  # bytes; one read takes many wakes
_LONGEST_SLEEP: Final = 3600.0  # seconds; epoll has a limit of its own


class Timer:
    """One named duty. ``due`` is a ``time.monotonic`` moment, NEVER while the timer is off.

    A timer with a ``period`` (seconds) is due again that long after each run.
    """

    def __init__(self, name: str, run: Callable[[], None], *, period: float | None = None) -> None:
        self.name = name
        self.due = NEVER
        self._run = run
        self._period = period

    def start(self) -> None:
        """Make the timer due one period from now."""
        assert self._period is not None, f"{self.name} has no period"
        self.due = time.monotonic() + self._period

    def after(self, seconds: float) -> None:
        """Make the timer due in ``seconds``, whatever its due time was before."""
        self.due = time.monotonic() + seconds

    def at_latest(self, moment: float) -> None:
        """Make the timer due at ``moment``, unless it is due earlier."""
        self.due = min(self.due, moment)

    def cancel(self) -> None:
        """Turn the timer off."""
        self.due = NEVER

    def fire(self, now: float) -> None:
        """Run the duty; a timer with a period is due one period after ``now``."""
        self.due = NEVER if self._period is None else now + self._period
        self._run()

    def __repr__(self) -> str:
        return f"<Timer {self.name!r} due {self.due:.3f}>"


class Timers:
    """All timers of one loop."""

    def __init__(self) -> None:
        self._timers: list[Timer] = []

    def add(self, name: str, run: Callable[[], None], *, period: float | None = None) -> Timer:
        """Return a new timer, which is off until it is started. Allowed at any time."""
        timer = Timer(name, run, period=period)
        self._timers.append(timer)
        return timer

    def drop(self, timer: Timer) -> None:
        """Turn a timer off and forget it. Allowed at any time."""
        timer.cancel()
        self._timers.remove(timer)

    def earliest(self) -> float:
        """Return the ``time.monotonic`` moment when the next timer is due; NEVER if all are off."""
        return min([timer.due for timer in self._timers], default=NEVER)

    def run_due(self) -> None:
        """Run the timers that are due now, once each, earliest first."""
        now = time.monotonic()
        due = [timer for timer in self._timers if timer.due <= now]
        for timer in sorted(due, key=lambda t: t.due):
            if timer.due <= now:  # an earlier timer may have moved it
                timer.fire(now)


class Watched(Protocol):
    """Something with a descriptor. Both may change at any time; fileno() < 0 means closed."""

    @property
    def events(self) -> int:
        """selectors.EVENT_READ | EVENT_WRITE, as wanted now."""
        ...

    def fileno(self) -> int:
        """Return the descriptor to watch now."""
        ...

    def on_ready(self, mask: int, /) -> None:
        """React to the events in ``mask``. Must not block."""
        ...


class Loop:
    """A selector that follows what its members want, and ``timers``."""

    def __init__(self) -> None:
        self.timers = Timers()
        self._selector = selectors.DefaultSelector()
        self._members: dict[Watched, tuple[int, int]] = {}  # what the selector was told

    def add(self, member: Watched) -> None:
        """Watch ``member`` from the next turn on."""
        self._members[member] = (-1, 0)

    def remove(self, member: Watched) -> None:
        """Forget a member, before or after its descriptor is closed."""
        fd, _ = self._members.pop(member, (-1, 0))
        if fd >= 0:
            self._selector.unregister(fd)

    def forget_descriptor(self, member: Watched) -> None:
        """Register the member's descriptor anew, even if its number is the same as before."""
        fd, _ = self._members[member]
        if fd >= 0:
            self._selector.unregister(fd)
            self._members[member] = (-1, 0)

    def turn(self) -> None:
        """Sleep until a member is ready or a timer is due; call the members, then the timers."""
        self._follow()
        timeout = max(0.0, self.timers.earliest() - time.monotonic())
        # epoll rounds up to whole milliseconds
        for key, mask in self._selector.select(min(timeout, _LONGEST_SLEEP)):
            member = key.data
            if self._members.get(member, (-1, 0))[0] == key.fd:  # not removed by an earlier one
                member.on_ready(mask)
        self.timers.run_due()

    def descriptors(self) -> list[int]:
        """Return the descriptors of the members that are open, and that of the selector."""
        members = [fd for fd in (member.fileno() for member in self._members) if fd >= 0]
        selector = getattr(self._selector, "fileno", None)  # SelectSelector and PollSelector: none
        return [*members, *([] if selector is None else [selector()])]

    def close(self) -> None:
        """Close the selector; the members stay open."""
        self._selector.close()

    def _follow(self) -> None:
        """Pass changes on to the selector; removals first, because numbers are used again."""
        changed: list[tuple[Watched, tuple[int, int]]] = []
        for member, known in self._members.items():
            fd, events = member.fileno(), member.events
            wanted = (fd, events) if fd >= 0 and events else (-1, 0)
            if wanted == known:
                continue
            if known[0] >= 0:
                self._selector.unregister(known[0])
            changed.append((member, wanted))
        for member, (fd, events) in changed:
            if fd >= 0:
                self._selector.register(fd, events, member)
            self._members[member] = (fd, events)


class Waker:
    """Wakes the loop that watches it, from another thread or by a signal."""

    events = selectors.EVENT_READ

    def __init__(self, on_wake: Callable[[], None]) -> None:
        self._on_wake = on_wake
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    @property
    def signal_fd(self) -> int:
        """The descriptor for ``signal.set_wakeup_fd``."""
        return self._writer.fileno()

    def wake(self) -> None:
        """Have the loop call ``on_wake``. Safe from any thread."""
        with suppress(OSError):  # the buffer is full, so the loop is about to wake anyway
            self._writer.send(b"\0")

    def fileno(self) -> int:
        """Return the descriptor that the loop watches."""
        return self._reader.fileno()

    def on_ready(self, _mask: int) -> None:
        """Empty the buffer and call ``on_wake``."""
        with suppress(BlockingIOError):
            while len(self._reader.recv(_BUFFER)) == _BUFFER:
                pass
        self._on_wake()

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()


class Backoff:
    """Growing delays with jitter, for what may fail many times in a row. Seconds."""

    def __init__(self, first: float, *, factor: float = 2.0, limit: float) -> None:
        self.failures = 0
        self._first = first
        self._factor = factor
        self._limit = limit

    def next(self) -> float:
        """Count a failure; return the seconds to wait now, 50 to 100 % of the nominal delay."""
        nominal = min(self._first * self._factor ** min(self.failures, 64), self._limit)
        self.failures += 1
        return nominal * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start over with the first delay."""
        self.failures = 0
