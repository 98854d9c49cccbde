"""Ending with the parent process while code runs that may never return.

Otherwise a process notices the death of its parent at the end of a socket, which it does not read
meanwhile.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


@contextmanager
def ends_with_parent() -> Iterator[None]:
    """Have the kernel kill this process if its parent ends within the block. Linux only.

    For a process that the parent's main thread has started: what counts is the end of that thread.
    A fork does not inherit this.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
