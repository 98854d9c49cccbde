"""How we are, for whoever wants to know: the process title, systemd, the program above us."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from setproctitle import setproctitle

from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor.ready import ReadyLine
from owsuper.supervisor.systemd import Systemd

_PERIOD: Final = 0.5

_log = logging.getLogger("owsuper.supervisor")


class Status:
    """``doing`` gives a few words; ``on_gone`` is called when the program above us is gone."""

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        ready_fd: int | None,
        *,
        doing: Callable[[], str],
        on_gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._doing = doing
        self._told = ""
        self.said_ready = False
        self._systemd = Systemd()
        self._line: ReadyLine | None = None
        if ready_fd is not None:
            self._line = ReadyLine(ready_fd, on_gone)
            loop.add(self._line)
        loop.timers.add("tell our status", self.tell, period=_PERIOD).start()
        if (period := self._systemd.watchdog_seconds) is not None:
            loop.timers.add("feed the watchdog", self._systemd.alive, period=period).start()

    def tell(self) -> None:
        """Update the title and the status line of systemd."""
        doing = self._doing()
        if doing != self._told:
            self._told = doing
            setproctitle(f"owsuper: supervisor {' '.join(self._settings.modules)} {doing}")
            self._systemd.status(doing)

    def ready(self, workflows: int) -> None:
        """We take runs."""
        self.said_ready = True
        settings = self._settings
        _log.info(
            "ready: workflows=%d processes=%d slots=%d",
            workflows,
            settings.processes,
            settings.processes * settings.concurrency,
        )
        self._systemd.ready()
        if self._line is not None:
            self._line.say()

    def stopping(self) -> None:
        self._systemd.stopping()

    def close(self) -> None:
        if self._line is not None:
            self._loop.remove(self._line)
            self._line.close()
        self._systemd.close()
