"""The supervisor's one place to sleep: whatever has a descriptor is watched from here."""

from __future__ import annotations

import selectors
import time
from typing import Protocol

from owsuper.supervisor.timers import Timers


class Watched(Protocol):
    """Something with a descriptor. Both may change at any time; fileno() < 0 means closed."""

    @property
    def events(self) -> int:
        """selectors.EVENT_READ | EVENT_WRITE, as wanted now."""
        ...

    def fileno(self) -> int: ...

    def on_ready(self, mask: int, /) -> None: ...


class Loop:
    """A selector that follows what its members want, and the timers beside it."""

    def __init__(self) -> None:
        self.timers = Timers()
        self._selector = selectors.DefaultSelector()
        self._members: dict[Watched, tuple[int, int]] = {}  # what the selector was told

    def add(self, member: Watched) -> None:
        self._members[member] = (-1, 0)

    def remove(self, member: Watched) -> None:
        """Forget a member, before or after its descriptor is closed."""
        fd, _ = self._members.pop(member, (-1, 0))
        if fd >= 0:
            self._selector.unregister(fd)

    def forget_descriptor(self, member: Watched) -> None:
        """The member's descriptor may be another one by now, even if its number is the same."""
        fd, _ = self._members[member]
        if fd >= 0:
            self._selector.unregister(fd)
            self._members[member] = (-1, 0)

    def turn(self) -> None:
        """Sleep until something happens; tell those whom it concerns; run the due timers."""
        self._follow()
        timeout = max(0.0, self.timers.earliest() - time.monotonic())
        # epoll rounds up to whole milliseconds and has a limit of its own
        for key, mask in self._selector.select(min(timeout, 3600.0)):
            member = key.data
            if self._members.get(member, (-1, 0))[0] == key.fd:  # not removed by an earlier one
                member.on_ready(mask)
        self.timers.run_due()

    def close(self) -> None:
        self._selector.close()

    def _follow(self) -> None:
        """Tell the selector what changed. First what to forget: numbers are used again."""
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
