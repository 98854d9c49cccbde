"""How processes end: our own exit codes, and a dead child's wait status in words."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

_PF_EXITING: Final = 0x4  # of Linux' task flags


class ExitCode(IntEnum):
    """What ``owsuper`` exits with."""

    CLEAN = 0  # stopped on request
    ERROR = 1  # something failed that is not listed below
    USAGE = 2  # bad options or settings
    IMPORT_ERROR = 3  # the application cannot be loaded
    DATABASE_UNREACHABLE = 4  # at start; later outages are waited out


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a process died, as far as anybody saw it."""

    pid: int | None
    wait_status: int | None = None
    max_rss_kb: int | None = None

    @property
    def signal_name(self) -> str | None:
        """``SIGSEGV``, if a signal ended it."""
        if self.wait_status is None or not os.WIFSIGNALED(self.wait_status):
            return None
        number = os.WTERMSIG(self.wait_status)
        try:
            return signal.Signals(number).name
        except ValueError:  # real-time signals have no names of their own
            return f"signal {number}"

    @property
    def exit_code(self) -> int | None:
        """What it gave to ``exit``, if it ended by itself."""
        if self.wait_status is None or not os.WIFEXITED(self.wait_status):
            return None
        return os.WEXITSTATUS(self.wait_status)

    def __str__(self) -> str:
        return describe(self.wait_status)


def is_ending(pid: int) -> bool:
    """Whether the process is past saving: exiting, a zombie, or gone. True if nobody knows."""
    if sys.platform != "linux":
        return True
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    state, flags = fields[0], int(fields[6])
    return state in "ZX" or bool(flags & _PF_EXITING)


def describe(wait_status: int | None) -> str:
    """``signal SIGSEGV``, ``exit code 7``, or that nobody knows."""
    if wait_status is None:
        return "cause unknown"
    evidence = Evidence(None, wait_status)
    if (name := evidence.signal_name) is not None:
        return name if name.startswith("signal ") else f"signal {name}"
    return f"exit code {evidence.exit_code}"
