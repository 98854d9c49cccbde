"""Forking: what a process must not inherit, and where a forked process begins.

Threads do not survive a fork, but the locks that they hold do. Two processes that share one
connection corrupt the protocol of both.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from setproctitle import setproctitle

from owsuper import embedded, logs
from owsuper.child import loader
from owsuper.child.loader import Application, LoadError
from owsuper.child.spec import ChildSpec
from owsuper.ipc.messages import Fork, LoadFailed, encode

_CANNOT_LOAD: Final = 3  # exit code, as in supervisor/exit_status.py


class Closable(Protocol):
    """A socket, a selector or a file of the parent."""

    def close(self) -> object:
        """Close the descriptors in this process. Those of the parent stay open."""
        ...


def reset_process(unshared: Iterable[Closable], descriptors: Iterable[int]) -> None:
    """Make this process, just forked, independent of its parent.

    Close ``unshared`` and ``descriptors``, which belong to the parent. Reset the signal handlers,
    and seed the random generators anew, so that no two children draw the same numbers.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for each in unshared:
        each.close()
    for descriptor in descriptors:
        os.close(descriptor)
    random.seed()
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()


@dataclass(frozen=True, slots=True)
class ForkedChild:
    """What a forked process needs to become a child.

    ``application`` is None if the child must import the application itself.
    """

    fork: Fork
    sock: socket.socket
    flight_fd: int
    application: Application | None


def run_child(forked: ForkedChild) -> NoReturn:
    """Set this process up as a child, and serve runs until the child ends.

    Exits with code 3, after a LoadFailed message, if the application cannot be imported.
    """
    settings = forked.fork.settings
    os.environ.update(forked.fork.environment)
    embedded.join()  # an embedded server must outlive its children, not only the supervisor
    setproctitle(f"owsuper: child {forked.fork.child}")
    application = forked.application
    if application is None:
        logs.configure(settings.log_level)
        try:
            application = loader.load(settings.modules)
        except LoadError as exc:
            forked.sock.sendall(encode(LoadFailed(exc.kind, exc.message, exc.traceback)))
            sys.exit(_CANNOT_LOAD)
    from owsuper.child.main import serve

    serve(
        ChildSpec(forked.fork.child, forked.sock, forked.flight_fd, settings, application.registry)
    )
