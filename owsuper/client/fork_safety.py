"""Protects open connections when the process forks.

The child process gets a copy of every connection, but the server's session belongs to the
parent. One byte from the child corrupts the parent's stream, and libpq sends a Terminate message
when a connection is closed or garbage-collected. So the child process points the copied
descriptors at /dev/null, keeps the objects forever, and opens its own connections when it needs
them. Then only the parent holds the sockets, and the server notices at once when the parent dies.

Threads do not exist in the child process, but the locks that they held do, such as the lock on a
module that was being imported. So a fork waits until no thread holds ``fork_lock``.
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
"""Held while objects are made that a child process must inherit completely or not at all."""

_owners: weakref.WeakSet[ForkSafe] = weakref.WeakSet()
_kept: list[object] = []


class ForkSafe(Protocol):
    """An object that has connections."""

    def suspend_connections(self) -> None:
        """Close what is idle, with its threads, before a fork of this process."""
        ...

    def forget_connections(self) -> tuple[object, Iterable[int]] | None:
        """Drop all references to the parent's connections, without using the connections.

        Returns the objects that must not be collected, and the descriptors of their sockets.
        Returns None without connections.
        """
        ...


def forget_in_children(owner: ForkSafe) -> None:
    """Have ``owner`` forget its connections in every child process that this process forks."""
    _owners.add(owner)


def keep_in_children(owner: ForkSafe) -> None:
    """End what ``forget_in_children`` began, for an owner that closes its connections."""
    _owners.discard(owner)


def _before() -> None:
    fork_lock.acquire()
    for owner in list(_owners):
        owner.suspend_connections()


def _in_child() -> None:
    try:
        _forget_all()
    finally:
        fork_lock.release()


def _forget_all() -> None:
    inherited = [found for owner in list(_owners) if (found := owner.forget_connections())]
    if not inherited:
        return
    if not _kept:  # one reference too many, so that the end of the process does not collect it
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))
    devnull = os.open(os.devnull, os.O_RDWR)
    for connections, sockets in inherited:
        _kept.append(connections)
        for descriptor in sockets:
            with contextlib.suppress(OSError):
                os.dup2(devnull, descriptor, inheritable=False)
    os.close(devnull)


os.register_at_fork(before=_before, after_in_parent=fork_lock.release, after_in_child=_in_child)
