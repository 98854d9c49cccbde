"""Starting the template: a fresh interpreter, by exec, never a fork of this process.

This process holds database connections, and the copy of one that a fork makes says goodbye
on the original's socket when it is collected.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
_HOME: Final = Path(__file__).resolve().parents[2]  # what must be on the path


def start_template() -> tuple[int, socket.socket]:
    """A template's pid, and our end of its control socket.

    It gets a process group of its own: a Ctrl-C in the terminal is for the supervisor, which
    tells the others what to do. Standard input is not theirs either.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.set_inheritable(True)
        options = [f"-W{option}" for option in sys.warnoptions]
        if Path.cwd() != _HOME:
            # The application's directory comes first on the path once it is imported, not before:
            # a queue.py in it is not for us.
            options.append("-P")
        module = ["-m", "owsuper.child.template", str(theirs.fileno())]
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *options, *module],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setpgroup=0,
        )
    return pid, ours


def become_subreaper() -> bool:
    """Inherit the children of a template that dies, so that somebody reaps them.

    False where there is no such thing (macOS): there EOF tells of a death, but not its cause.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
