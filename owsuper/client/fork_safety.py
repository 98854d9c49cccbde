"""What becomes of open connections in a forked child.

The child gets a copy of every connection, but the session behind it is the parent's: one byte
sent from here corrupts the parent's conversation, and libpq says goodbye when a connection is
closed or merely collected. So a child points the copied descriptors at /dev/null, keeps the
objects for ever, and opens connections of its own when it needs them. (That also leaves the
parent's sockets to the parent: the server notices at once when it dies.)

A thread does not exist in the child, but what it held does: a lock, or the lock on a module
that it was importing. So forks wait for whoever holds ``fork_lock``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Iterable
from typing import Final, Protocol

fork_lock: Final = threading.RLock()
"""Held while things are made that a child must inherit whole or not at all."""

_living: weakref.WeakSet[ForkSafe] = weakref.WeakSet()
_kept: list[object] = []


class ForkSafe(Protocol):
    """Something with connections."""

    def forget_connections(self) -> tuple[object, Iterable[int]] | None:
        """Let go, without touching them, of all things that are the parent's.

        Returns them, with their sockets.
        """
        ...


def forget_in_children(heir: ForkSafe) -> None:
    """Have ``heir`` disinherited whenever this process turns out to be the child of a fork."""
    _living.add(heir)


def _in_child() -> None:
    try:
        _disinherit()
    finally:
        fork_lock.release()


def _disinherit() -> None:
    legacies = [legacy for heir in list(_living) if (legacy := heir.forget_connections())]
    if not legacies:
        return
    if not _kept:  # not collected at the end of the process either
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for things, sockets in legacies:
        _kept.append(things)
        for descriptor in sockets:
            with contextlib.suppress(OSError):
                os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)


os.register_at_fork(
    before=fork_lock.acquire, after_in_parent=fork_lock.release, after_in_child=_in_child
)
