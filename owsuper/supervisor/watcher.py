"""Reloads when files of the application change, for ``owsuper --watch``."""

from __future__ import annotations

import logging
import os
import selectors
from collections.abc import Callable, Sequence
from pathlib import Path

from owsuper.supervisor import spawn

_log = logging.getLogger("owsuper.supervisor")


class Watcher:
    """Watches Python files by another process, and calls ``on_change``. A Loop watches it.

    Raises OSError if the process cannot be started.
    """

    events = selectors.EVENT_READ

    def __init__(self, modules: Sequence[str], on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._received = b""
        directories = _directories(modules)
        _, self._sock = spawn.start_module("owsuper.watch", *directories)
        self._sock.setblocking(False)
        _log.info("watching Python files below %s", " and ".join(directories))

    def fileno(self) -> int:
        """Return the descriptor to watch; -1 when the other process has ended."""
        return self._sock.fileno()

    def on_ready(self, _mask: int) -> None:
        """Call ``on_change`` if files have changed."""
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            _log.error("the process that watches files has ended; a HUP still reloads")
            self.close()
            return
        *paths, self._received = (self._received + data).split(b"\n")
        if paths:
            _log.info("changed: %s", os.fsdecode(paths[-1]))
            self._on_change()

    def close(self) -> None:
        """End the other process."""
        self._sock.close()


def _directories(modules: Sequence[str]) -> list[str]:
    """Return the working directory, and those of files that are not below it."""
    here = Path.cwd()
    files = [Path(name.partition(":")[0]) for name in modules]
    parents = {path.resolve().parent for path in files if path.suffix == ".py"}
    beyond = sorted(str(parent) for parent in parents if not parent.is_relative_to(here))
    return [str(here), *beyond]
