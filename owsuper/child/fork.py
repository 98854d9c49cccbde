"""From a newly forked process to a child that serves."""

from __future__ import annotations

import os
import random
import socket
import sys
from dataclasses import dataclass
from typing import Final, NoReturn

from setproctitle import setproctitle

from owsuper import embedded, logs
from owsuper.child import loader
from owsuper.child.loader import Application, LoadError
from owsuper.child.spec import ChildSpec
from owsuper.ipc.messages import Fork, LoadFailed, encode

_CANNOT_LOAD: Final = 3  # the exit code of the same name


@dataclass(frozen=True, slots=True)
class ForkedChild:
    """What a newly forked process is to live as. ``application`` is None if it must import."""

    fork: Fork
    sock: socket.socket
    flight_fd: int
    application: Application | None


def live(birth: ForkedChild) -> NoReturn:
    """Be a child until it is over."""
    settings = birth.fork.settings
    os.environ.update(birth.fork.environment)
    embedded.join()  # if there is one, it must outlive us, not only the supervisor
    setproctitle(f"owsuper: child {birth.fork.child}")
    loaded = birth.application
    if loaded is None:
        logs.configure(settings.log_level)
        try:
            loaded = loader.load(settings.modules)
        except LoadError as exc:
            birth.sock.sendall(encode(LoadFailed(exc.kind, exc.message, exc.traceback)))
            sys.exit(_CANNOT_LOAD)
    from owsuper.child.main import serve

    serve(ChildSpec(birth.fork.child, birth.sock, birth.flight_fd, settings, loaded.registry))


def reseed() -> None:
    """Two children must not draw the same random numbers."""
    random.seed()
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
