"""Telling systemd how we are (sd_notify), without a library: datagrams to a socket it names."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping


class Systemd:
    """Says nothing, at no cost, when no systemd listens.

    Takes its variables out of ``environ``, so that no child speaks in our name.
    ``watchdog_seconds`` is how often ``alive`` must be called, or None: half of what systemd
    allows, as it advises.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", "")
        allowed = environ.pop("WATCHDOG_USEC", "")
        meant_for = environ.pop("WATCHDOG_PID", "")
        self.watchdog_seconds: float | None = None
        self._socket: socket.socket | None = None
        if not address:
            return
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        if allowed.isdecimal() and int(allowed) > 0 and meant_for in ("", str(os.getpid())):
            self.watchdog_seconds = int(allowed) / 2e6

    def ready(self) -> None:
        self._say("READY=1")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def alive(self) -> None:
        self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._say("STATUS=" + text.replace("\n", " "))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, line: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a lost message is systemd's to miss
                self._socket.sendto(line.encode(), self._address)
