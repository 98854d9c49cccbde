"""One line that says how far it got: rewritten on a terminal, now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from examples.library_audit.journal import Execution

WIDTH = 24
ERASE = "\r\x1b[K"
TO_READ = 0.5  # seconds without a live line after another one, so that the log joins it


class Progress:
    """``total`` modules are to be audited. Writes to ``stream``."""

    def __init__(self, total: int, stream: TextIO = sys.stderr) -> None:
        self._total = total
        self._stream = stream
        self._live = stream.isatty()
        self._pause = 0.1 if self._live else 2.0
        self._next = 0.0
        self._killed: Execution | None = None
        self.done = 0

    def show(self, executions: Sequence[Execution], *, last: bool = False) -> None:
        """Say where we are, unless that was said just now."""
        finished = [each for each in executions if each.ended]
        self.done = sum(each.step == "summarise" for each in finished)
        if time.monotonic() < self._next and not last:
            return
        self._next = time.monotonic() + self._pause
        going_on = [each for each in executions if not each.ended and each != self._killed]
        now = [f"{each.step} {each.path}" for each in going_on][-2:]
        bar = "#" * (WIDTH * self.done // self._total)
        line = (
            f"[{bar:.<{WIDTH}}] {self.done:,} of {self._total:,} modules,"
            f" {len(finished):,} steps  {', '.join(now):.60}"
        )
        if not self._live:
            self.say(line.rstrip())
        else:
            self._write(f"{ERASE}{line:.100}" + ("\n" if last else ""))

    def say(self, line: str) -> None:
        """A line of its own, that stays."""
        self._write(f"{ERASE if self._live else ''}{line}\n")
        self._next = max(self._next, time.monotonic() + TO_READ)

    def killed(self, victim: Execution) -> None:
        """Say that ``victim`` ended half-way."""
        self._killed = victim
        self.say(f"kill -KILL {victim.pid}: it was busy with {victim.step} {victim.path}")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
