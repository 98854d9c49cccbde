"""Whether the kernel has killed a process of this worker for want of memory.

The kernel tells nobody which process it killed. But it counts its kills in each control group, in
``memory.events`` (in cgroup v1: ``memory.oom_control``), and counts before it kills. So a child
that was killed when the count has grown was killed for want of memory.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

PERIOD: Final = 5.0
"""Seconds between two calls of ``look``."""

_ROOT: Final = Path("/sys/fs/cgroup")


class OutOfMemoryKills:
    """The kills in the control group of this process; ``events`` is the file that counts them."""

    def __init__(self, events: Path | None = None) -> None:
        self._events = _memory_events() if events is None else events
        self._old = self._recent = self._read() or 0

    def look(self) -> None:
        """Disregard the kills before the last call: they were other processes, that steps started.

        Call this now and then. The kills since the last call may be children that are not reaped.
        """
        self._old = self._recent
        self._recent = max(self._recent, self._read() or 0)

    def explain(self) -> bool | None:
        """Return whether a process that was killed now was killed for want of memory.

        None if that cannot be known here. Each kill explains the death of one process.
        """
        count = self._read()
        if count is None:
            return None
        if count <= self._old:
            return False
        self._old += 1
        self._recent = max(self._recent, self._old)
        return True

    def _read(self) -> int | None:
        if self._events is not None:
            with suppress(OSError, ValueError):
                for line in self._events.read_text(encoding="ascii").splitlines():
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
        return None


def _memory_events() -> Path | None:
    """Return the file of this process's control group that counts kills; None without one."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                file = _ROOT / path.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                file = _ROOT / "memory" / path.lstrip("/") / "memory.oom_control"
            else:
                continue
            if file.exists():
                return file
    return None
