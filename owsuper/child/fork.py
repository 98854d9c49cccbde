"""Forking: what a process must not inherit, and where a forked process begins.

Threads do not survive a fork, but the locks that they hold do. Two processes that share one
connection corrupt the protocol of both.
"""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from setproctitle import setproctitle

from owsuper import embedded, logs
from owsuper.child import loader, process_exit
from owsuper.child.loader import Application, LoadError
from owsuper.child.spec import CANNOT_START, ChildSpec
from owsuper.ipc.messages import Fork, LoadFailed, encode
from owsuper.step import log_records


class Closable(Protocol):
    """A socket, a selector or a file of the parent."""

    def close(self) -> object:
        """Close the descriptors in this process. Those of the parent stay open."""
        ...


def reset_process(unshared: Iterable[Closable], descriptors: Iterable[int]) -> None:
    """Make this process, just forked, independent of its parent.

    Close ``unshared`` and ``descriptors``, which belong to the parent, and seed the random
    generators anew, so that no two children draw the same numbers. The fork itself has reset the
    signal handlers (``signal_handlers``).
    """
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


def _refuse_breakpoint(*_: object, **__: object) -> NoReturn:
    raise RuntimeError(
        "breakpoint() needs a terminal, and this process has none. Start the worker with"
        " owsuper --foreground, or set PYTHONBREAKPOINT to a debugger that needs no terminal."
    )


def run_child(forked: ForkedChild) -> NoReturn:
    """Set this process up as a child, and serve runs until the child ends.

    Exits with code 3, after a LoadFailed message, if the application cannot be imported, or the
    child cannot start (see ``serve``).
    """
    os.setsid()  # what steps start ends with this process, as far as it stays in the session
    process_exit.begin()
    settings = forked.fork.settings
    os.environ.update(forked.fork.environment)
    embedded.join()  # an embedded server must outlive its children, not only the supervisor
    setproctitle(f"owsuper: child {forked.fork.child}")
    if sys.breakpointhook is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT"):
        sys.breakpointhook = _refuse_breakpoint
    application = forked.application
    try:
        if application is None:
            logs.set_up_again(settings)
            log_records.install(show_replayed=settings.log_replay)
            application = loader.load(settings.modules)
    except LoadError as exc:
        forked.sock.sendall(encode(LoadFailed(exc.kind, exc.message, exc.traceback)))
        process_exit.leave(CANNOT_START)
    from owsuper.child.main import serve

    serve(
        ChildSpec(
            forked.fork.child,
            forked.sock,
            forked.flight_fd,
            settings,
            application.registry,
            application.hooks,
            forked.fork.connect,
        )
    )
