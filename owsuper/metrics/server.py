"""The thread that answers Prometheus over HTTP.

The supervisor's one thread must never wait for a client, so this is another thread. It asks the
supervisor for a snapshot, makes the text of it, and sends that. The supervisor only copies what it
has counted. One thread serves all clients from one selector. Slow ones get a time limit, and the
oldest one goes when there are too many.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from owsuper.errors import ConfigurationError
from owsuper.event_loop import Loop, Waker
from owsuper.metrics.catalogue import OF_WORKERS
from owsuper.metrics.families import CONTENT_TYPE, Snapshot, text

_log = logging.getLogger("owsuper.supervisor")

_MOST_CLIENTS: Final = 16
_LONGEST_REQUEST: Final = 8192  # bytes
# Seconds.
_CLIENT_LIMIT: Final = 5.0  # for a client to send its request and to read the answer
_TICK: Final = 1.0  # between two looks for clients beyond that limit
_SNAPSHOT_LIMIT: Final = 2.0  # for the supervisor; then the last snapshot is served again
_AT_MOST_EVERY: Final = 0.1  # between two snapshots, however many clients there are
_PAUSE: Final = 1.0  # without new clients, after no descriptor was left for one
_END_LIMIT: Final = 2.0  # for the thread to end


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at ``host`` and ``port``; no program started later inherits it.

    Raises ConfigurationError.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"--metrics-host {host}: there is no such host: {error}. Set an address of this"
            " machine, such as 127.0.0.1, or 0.0.0.0 for all of them."
        ) from None
    family, kind, protocol, _, address = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart
        opened.bind(address)
        opened.listen(_MOST_CLIENTS)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigurationError(
                f"--metrics-host {host}: this machine has no such address. Set one that it has,"
                " such as 127.0.0.1, or 0.0.0.0 for all of them."
            ) from None
        raise ConfigurationError(
            f"--metrics-port {port}: cannot listen at {_place(host, port)}: {error.strerror}."
            " Set a port that is free: each worker of a machine needs its own."
        ) from None
    opened.setblocking(False)
    return opened


class MetricsServer:
    """Serves metrics at ``sock``, which listens, from ``start`` until ``close``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._supervisor: Loop | None = None
        self._wanted = Waker(self._publish)  # wakes the supervisor
        self._collect: Callable[[], Snapshot] = Snapshot
        self._published = threading.Event()
        self._snapshot: Snapshot | None = None
        self._thread: threading.Thread | None = None
        self._answering: _Answering | None = None

    def start(self, loop: Loop, collect: Callable[[], Snapshot]) -> None:
        """Begin to answer. ``loop`` is the supervisor's, which calls ``collect`` when asked.

        If this process can have no more threads, that is logged, and nobody gets an answer.
        """
        self._supervisor, self._collect = loop, collect
        loop.add(self._wanted)
        self._answering = _Answering(self._sock, self._page)
        self._thread = threading.Thread(
            target=self._answering.run, name="owsuper-metrics", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            _log.error("metrics are not served: %s", error)
            return
        _log.info("metrics: http://%s/metrics", _place(*self._sock.getsockname()[:2]))

    def close(self) -> None:
        """Close the socket and all connections, and end the thread. In the supervisor's thread."""
        if self._thread is not None and self._answering is not None:
            self._answering.stop()
            self._snapshot = self._snapshot or Snapshot()
            self._published.set()  # it may be waiting for a snapshot
            self._thread.join(_END_LIMIT)
            self._thread = None
        if self._supervisor is not None:
            self._supervisor.remove(self._wanted)
            self._supervisor = None
        self._wanted.close()
        self._sock.close()

    # --- in the supervisor's thread ----------------------------------------------------------

    def _publish(self) -> None:
        self._snapshot = self._collect()
        self._published.set()

    # --- in the server's thread --------------------------------------------------------------

    def _page(self) -> bytes | None:
        """Return the page; None if the supervisor has not answered yet."""
        self._published.clear()
        self._wanted.wake()
        self._published.wait(_SNAPSHOT_LIMIT)
        if self._snapshot is None:
            return None
        return text(OF_WORKERS, self._snapshot, of_process=True)


def _place(host: str, port: int) -> str:
    """Return where a socket listens, as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Answering:
    """The loop of the server's thread. ``page`` returns the text; it may block for a moment."""

    events = selectors.EVENT_READ

    def __init__(self, sock: socket.socket, page: Callable[[], bytes | None]) -> None:
        self._sock = sock
        self._get_page = page
        self._page: bytes | None = None
        self._page_made_at = 0.0
        self._loop = Loop()
        self._waker = Waker(lambda: None)
        self._stopped = False
        self._paused_until = 0.0
        self._clients: list[_Client] = []  # the oldest first

    def run(self) -> None:
        """Serve until ``stop``."""
        self._loop.add(self._waker)
        self._loop.add(self)
        self._loop.timers.add("slow clients", self._drop_slow, period=_TICK).start()
        try:
            while not self._stopped:
                self._loop.turn()
        except Exception:
            _log.exception("metrics are no longer served")
        finally:
            for client in self._clients:
                client.close()
            self._loop.close()
            self._waker.close()

    def stop(self) -> None:
        """End ``run``. From any thread."""
        self._stopped = True
        self._waker.wake()

    # --- new clients -------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor of the socket that listens; -1 during a pause."""
        return -1 if time.monotonic() < self._paused_until else self._sock.fileno()

    def on_ready(self, _mask: int) -> None:
        """Accept a client."""
        try:
            accepted, _ = self._sock.accept()
        except (BlockingIOError, ConnectionError):
            return  # it has gone
        except OSError:  # no descriptors: the socket stays readable, and the loop would spin
            self._paused_until = time.monotonic() + _PAUSE
            return
        accepted.setblocking(False)
        if len(self._clients) == _MOST_CLIENTS:
            self._drop(self._clients[0])
        client = _Client(accepted, self._answer, self._drop)
        self._clients.append(client)
        self._loop.add(client)

    def _drop(self, client: _Client) -> None:
        self._loop.remove(client)
        self._clients.remove(client)
        client.close()

    def _drop_slow(self) -> None:
        oldest = time.monotonic() - _CLIENT_LIMIT
        for client in [each for each in self._clients if each.since < oldest]:
            self._drop(client)

    # --- answers -----------------------------------------------------------------------------

    def _answer(self, request: bytes) -> bytes:
        """Return the answer to a request, of which only the first line matters."""
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"Use GET.\n", "Allow: GET, HEAD\r\n")
        if path != b"/metrics":
            answer = _response("404 Not Found", b"The metrics are at /metrics.\n")
        elif (page := self._current_page()) is None:
            answer = _response("503 Service Unavailable", b"The worker is busy.\n")
        else:
            answer = _response("200 OK", page, content_type=CONTENT_TYPE)
        return answer if method == b"GET" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def _current_page(self) -> bytes | None:
        if self._page is None or time.monotonic() - self._page_made_at >= _AT_MOST_EVERY:
            self._page = self._get_page()
            self._page_made_at = time.monotonic()
        return self._page


class _Client:
    """One connection: a request is read, an answer is written, and the connection is closed."""

    def __init__(
        self,
        sock: socket.socket,
        answer: Callable[[bytes], bytes],
        on_end: Callable[[_Client], None],
    ) -> None:
        self.since = time.monotonic()
        self._sock = sock
        self._answer = answer
        self._on_end = on_end
        self._request = b""
        self._unsent: memoryview | None = None

    @property
    def events(self) -> int:
        """The events to watch for."""
        return selectors.EVENT_READ if self._unsent is None else selectors.EVENT_WRITE

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._sock.fileno()

    def on_ready(self, _mask: int) -> None:
        """Read or write what is possible."""
        try:
            over = self._read() if self._unsent is None else self._write()
        except BlockingIOError:
            return
        except OSError:  # the client has gone
            over = True
        if over:
            self._on_end(self)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._sock.close()

    def _read(self) -> bool:
        """Read, and answer a whole request. Return whether the connection is over."""
        data = self._sock.recv(_LONGEST_REQUEST)
        self._request += data
        if b"\r\n\r\n" in self._request:
            self._unsent = memoryview(self._answer(self._request))
            return self._write()
        if len(self._request) > _LONGEST_REQUEST:
            self._unsent = memoryview(_response("431 Request Header Fields Too Large", b""))
            return self._write()
        return not data

    def _write(self) -> bool:
        """Write. Return whether all is written."""
        assert self._unsent is not None
        self._unsent = self._unsent[self._sock.send(self._unsent) :]
        if self._unsent:
            return False
        self._sock.shutdown(socket.SHUT_WR)
        return True


def _response(
    status: str, body: bytes, more: str = "", *, content_type: str = "text/plain; charset=utf-8"
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body
