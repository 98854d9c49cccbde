"""Notifications to systemd (sd_notify): datagrams to the socket that systemd names."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Systemd:
    """Sends the state of the service; without systemd, all methods do nothing.

    Removes systemd's variables from ``environ``, so that children do not notify. ``alive`` must
    be called every ``watchdog_seconds``, half of WATCHDOG_USEC as sd_watchdog_enabled(3)
    advises; None if there is no watchdog.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_usec = environ.pop("WATCHDOG_USEC", "")
        watchdog_pid = environ.pop("WATCHDOG_PID", "")
        self.watchdog_seconds: float | None = None
        self._socket: socket.socket | None = None
        if not address:
            return
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        if (
            watchdog_usec.isdecimal()
            and int(watchdog_usec) > 0
            and watchdog_pid in ("", str(os.getpid()))
        ):
            self.watchdog_seconds = int(watchdog_usec) / 2e6

    @property
    def is_there(self) -> bool:
        """Whether systemd has started this process and listens."""
        return self._socket is not None

    def ready(self) -> None:
        """Report that the service is ready."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that a reload begins; ``ready`` reports its end, whether it worked or not.

        The time tells Type=notify-reload which reload this is. It must be taken after the signal
        that asked for the reload.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for ``seconds`` more, from now, before the time-out of this start or stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def alive(self) -> None:
        """Reset the watchdog."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send("STATUS=" + text.replace("\n", " "))

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, line: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the service works without systemd
                self._socket.sendto(line.encode(), self._address)
