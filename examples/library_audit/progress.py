"""A progress line: rewritten in place on a terminal, printed every two seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from examples.library_audit.journal import Execution

WIDTH = 24
ERASE = "\r\x1b[K"
PAUSE_AFTER_LINE = 0.5  # seconds; log lines then follow without a progress line in between


class Progress:
    """Shows how many of ``total`` modules are audited. Writes to ``stream``."""

    def __init__(self, total: int, stream: TextIO = sys.stderr) -> None:
        self._total = total
        self._stream = stream
        self._live = stream.isatty()
        self._pause = 0.1 if self._live else 2.0
        self._next = 0.0
        self._killed: Execution | None = None
        self.done = 0

    def show(self, executions: Sequence[Execution], *, last: bool = False) -> None:
        """Write the progress line, unless it was written just now."""
        finished = [each for each in executions if each.ended]
        self.done = sum(each.step == "summarize" for each in finished)
        if time.monotonic() < self._next and not last:
            return
        self._next = time.monotonic() + self._pause
        running = [each for each in executions if not each.ended and each != self._killed]
        now = [f"{each.step} {each.path}" for each in running][-2:]
        bar = "#" * (WIDTH * self.done // self._total)
        line = (
            f"[{bar:.<{WIDTH}}] {self.done:,} of {self._total:,} modules,"
            f" {len(finished):,} steps  {', '.join(now):.60}"
        )
        if not self._live:
            self.write_line(line.rstrip())
        else:
            self._write(f"{ERASE}{line:.100}" + ("\n" if last else ""))

    def write_line(self, line: str) -> None:
        """Write a line that stays."""
        self._write(f"{ERASE if self._live else ''}{line}\n")
        self._next = max(self._next, time.monotonic() + PAUSE_AFTER_LINE)

    def killed(self, execution: Execution) -> None:
        """Write that the process of ``execution`` was killed."""
        self._killed = execution
        self.write_line(f"kill -KILL {execution.pid}, in step {execution.step} of {execution.path}")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
