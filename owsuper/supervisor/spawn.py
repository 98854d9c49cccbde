"""Start other processes: a fresh interpreter, by exec, not a fork of this process.

This process holds database connections. When the copy of a connection in a forked process is
collected, libpq ends the session of the original.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from owsuper.ipc.messages import PROTOCOL

_PR_SET_CHILD_SUBREAPER: Final = 36
_IMPORT_ROOT: Final = Path(__file__).resolve().parents[2]  # owsuper is imported from here


def start_template() -> tuple[int, socket.socket]:
    """Start a template; return its pid and this end of its control socket.

    Raises OSError if there are no processes or descriptors left.
    """
    return start_module("owsuper.child.template", PROTOCOL)


def start_module(module: str, *arguments: str) -> tuple[int, socket.socket]:
    """Run ``module`` as a process; return its pid and this end of a socket to it.

    The number of the other end is its first argument. Raises OSError if there are no processes or
    descriptors left.

    See ``run_module`` for the rest.
    """
    ours, theirs = socket.socketpair()
    with ExitStack() as on_error, theirs:
        on_error.callback(ours.close)
        theirs.set_inheritable(True)
        pid = run_module(module, [str(theirs.fileno()), *arguments])
        on_error.pop_all()
    return pid, ours


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] = os.environ,
    blocked: Collection[signal.Signals] = (),
) -> int:
    """Run ``module`` as a process, which has these signals ``blocked``; return its pid.

    Raises OSError if there are no processes or descriptors left.

    The process gets a process group of its own, so that a Ctrl-C in the terminal signals this
    process alone, and an empty standard input.
    """
    options = [f"-W{option}" for option in sys.warnoptions]
    if not _is_import_root():
        # Keep the application's directory off the path until the application is imported:
        # our own imports must not find a queue.py there.
        options.append("-P")
    return os.posix_spawn(
        sys.executable,
        [sys.executable, *options, "-m", module, *arguments],
        environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setpgroup=0,
        # What steps start has the default dispositions, whoever started the supervisor.
        setsigmask=blocked,
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def _is_import_root() -> bool:
    try:
        return Path.cwd() == _IMPORT_ROOT
    except OSError:  # the working directory was deleted
        return False


def become_subreaper() -> bool:
    """Adopt the children of a template that dies, to reap them. Return whether that worked.

    It works on Linux only. On macOS the EOF of its pipe reports a child's death without a cause.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
