"""How processes end: exit codes of ``owsuper``, and wait statuses of dead processes in words."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

_PF_EXITING: Final = 0x4  # among the task flags of Linux

# Signals that the code of a process brings about: faults, aborts, its own timers and limits.
_OWN_SIGNALS: Final = frozenset(
    {
        signal.SIGABRT,
        signal.SIGALRM,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGPIPE,
        signal.SIGPROF,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGVTALRM,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)


class ExitCode(IntEnum):
    """The exit codes of ``owsuper``."""

    CLEAN = 0  # stopped on request
    ERROR = 1  # none of those below
    USAGE = 2  # bad options or settings
    IMPORT_ERROR = 3  # the application cannot be loaded
    DATABASE_UNREACHABLE = 4  # at the start; later outages are waited out
    CHILDREN_FAILED = 5  # at the start, no child process lived until it could take a run


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a process died, as far as is known.

    ``out_of_memory``: whether the kernel killed it for want of memory; None if that is not known.
    """

    pid: int | None
    wait_status: int | None = None
    max_rss_kb: int | None = None
    cpu_seconds: float | None = None
    out_of_memory: bool | None = None

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that ended the process, such as ``SIGSEGV``; None if none did."""
        if self.wait_status is None or not os.WIFSIGNALED(self.wait_status):
            return None
        number = os.WTERMSIG(self.wait_status)
        try:
            return signal.Signals(number).name
        except ValueError:  # real-time signals have no names
            return f"signal {number}"

    @property
    def exit_code(self) -> int | None:
        """The exit code; None if a signal ended the process, or if nothing is known."""
        if self.wait_status is None or not os.WIFEXITED(self.wait_status):
            return None
        return os.WEXITSTATUS(self.wait_status)

    @property
    def kind(self) -> str:
        """``out of memory``, ``SIGSEGV``, ``exit code 7`` or ``unknown``."""
        if self.out_of_memory:
            return "out of memory"
        if (name := self.signal_name) is not None:
            return name
        return "unknown" if self.exit_code is None else f"exit code {self.exit_code}"

    def __str__(self) -> str:
        cause = describe_status(self.wait_status)
        return f"{cause}, out of memory" if self.out_of_memory else cause


def is_exiting(pid: int) -> bool:
    """Whether the process is exiting, a zombie or reaped. True if the state is unknown."""
    if sys.platform != "linux":
        return True
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    state, flags = fields[0], int(fields[6])
    return state in "ZX" or bool(flags & _PF_EXITING)


def was_killed(wait_status: int) -> bool:
    """Whether another process, or the kernel for want of memory, ended the process."""
    return os.WIFSIGNALED(wait_status) and os.WTERMSIG(wait_status) not in _OWN_SIGNALS


def describe_status(wait_status: int | None) -> str:
    """Return ``signal SIGSEGV``, ``exit code 7`` or ``cause unknown``."""
    if wait_status is None:
        return "cause unknown"
    evidence = Evidence(None, wait_status)
    if (name := evidence.signal_name) is not None:
        return name if name.startswith("signal ") else f"signal {name}"
    return f"exit code {evidence.exit_code}"
