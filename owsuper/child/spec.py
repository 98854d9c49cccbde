"""What a child is born with."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.settings import Settings
    from owsuper.workflow.registry import Registry


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A forked child's own things; nothing else of its ancestors is open.

    ``index`` is the child's number, ``sock`` its end of the pipe to the supervisor (a Unix
    stream socket, blocking), ``flight_fd`` the shared memory of its flight recorder with
    ``settings.concurrency`` records, ``registry`` the application's workflows. ``settings``
    are final: the database URL is known.
    """

    index: int
    sock: socket.socket
    flight_fd: int
    settings: Settings
    registry: Registry
