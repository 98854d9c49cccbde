"""The data that a child process starts with."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from owsuper.settings import Settings
from owsuper.workflow.registry import Registry

# The exit code of a child that sent LoadFailed, as in supervisor/exit_status.py.
CANNOT_START: Final = 3


@dataclass(frozen=True, slots=True)
class Hooks:
    """The functions of ``on_child_start``, ``on_child_stop``, ``around_steps``, as defined."""

    start: Sequence[Callable[[], object]] = ()
    stop: Sequence[Callable[[], object]] = ()
    around_steps: Sequence[Callable[[], object]] = ()


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """The parameters of one child. A child inherits no other open descriptor.

    ``index`` is the child's number, ``sock`` its end of the pipe to the supervisor (a blocking
    Unix stream socket), ``flight_fd`` the shared memory of its flight recorder with
    ``settings.concurrency`` records, ``registry`` the application's workflows. ``settings`` must
    be complete: ``database_url`` is set. With ``connect``, the child connects to the database
    before it is ready. ``owns_process`` is false for a child in a thread of somebody's program.
    """

    index: int
    sock: socket.socket
    flight_fd: int
    settings: Settings
    registry: Registry
    hooks: Hooks = Hooks()
    connect: bool = False
    owns_process: bool = True
