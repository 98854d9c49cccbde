"""The socket at which ``owsuper healthcheck`` asks this worker; see ``ipc.health``."""

from __future__ import annotations

import contextlib
import logging
import selectors
from collections.abc import Callable
from typing import Final

from owsuper.event_loop import Loop
from owsuper.ipc import health
from owsuper.ipc.health import WorkerHealth

_AT_ONCE: Final = 8  # answers in one turn of the loop, so that nobody can hold the loop up
_PAUSE: Final = 1.0  # seconds without answers, after no descriptor was left for one

_log = logging.getLogger("owsuper.supervisor")


class HealthSocket:
    """Answers whoever connects with what ``describe`` returns. ``loop`` watches it until close."""

    def __init__(self, loop: Loop, describe: Callable[[], WorkerHealth]) -> None:
        self._loop = loop
        self._describe = describe
        self._paused = False
        self._resume_timer = loop.timers.add("answer health checks again", self._resume)
        self._socket = health.listen()
        if self._socket is None:
            _log.debug("owsuper healthcheck cannot ask this worker: there is no abstract socket")
        loop.add(self)

    @property
    def events(self) -> int:
        """The events to watch for; none during a pause."""
        return 0 if self._paused else selectors.EVENT_READ

    def fileno(self) -> int:
        """Return the descriptor to watch; -1 if there is no socket."""
        return -1 if self._socket is None else self._socket.fileno()

    def on_ready(self, _mask: int) -> None:
        """Answer those who wait."""
        answer = health.encode(self._describe())
        try:
            for _ in range(_AT_ONCE):
                self._answer_next(answer)
        except BlockingIOError:
            pass  # nobody waits any more
        except OSError:  # the socket stays readable, and the loop would turn without end
            self._paused = True
            self._resume_timer.after(_PAUSE)

    def _answer_next(self, answer: bytes) -> None:
        assert self._socket is not None
        asking, _ = self._socket.accept()
        with asking, contextlib.suppress(OSError):  # whoever asked is gone
            asking.setblocking(False)
            asking.send(answer)  # smaller than any buffer: does not block

    def _resume(self) -> None:
        self._paused = False

    def close(self) -> None:
        """Close the socket, and leave the loop."""
        self._loop.remove(self)
        self._loop.timers.drop(self._resume_timer)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
