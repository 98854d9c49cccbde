"""What a child leaves behind about its death: its stacks, and the end of its standard error."""

from __future__ import annotations

import faulthandler
import os
from typing import Final

from owsuper import stderr_copy
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.signal_handlers import KEEP_SIGNAL

_STDERR: Final = 2

_begun = False


def begin(flight_fd: int, recorder: FlightRecorder) -> None:
    """Keep both in the flight recorder, where the supervisor finds them.

    The stacks of a fatal signal, and at KEEP_SIGNAL, go there alone; the supervisor logs them.
    """
    global _begun
    _begun = True
    os.lseek(flight_fd, recorder.trace_offset, os.SEEK_SET)
    faulthandler.enable(flight_fd)
    faulthandler.register(KEEP_SIGNAL, file=flight_fd)
    stderr_copy.copy_to(recorder.append_stderr)


def end_in_fork() -> None:
    """Keep nothing of a process that user code has forked: it is not the child."""
    if _begun:
        stderr_copy.copy_to(None)
        faulthandler.enable(_STDERR)
        faulthandler.unregister(KEEP_SIGNAL)
