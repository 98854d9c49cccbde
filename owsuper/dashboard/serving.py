"""The dashboard as a server of its own, for the command."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from owsuper.dashboard.access import Access, Anybody, ByPassword, ByProxy, FromHere
from owsuper.dashboard.application import Dashboard
from owsuper.dashboard.known import KnownWorkflows
from owsuper.dashboard.options import Options
from owsuper.dashboard.passwords import PasswordFile
from owsuper.dashboard.senders import is_loopback, networks
from owsuper.db.workers import WorkerQueries
from owsuper.errors import ConfigurationError

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow

_log = logging.getLogger("owsuper.dashboard")

_BACKLOG: Final = 128
_STOP_SECONDS: Final = 2  # for open requests to end; streams of events would never do so


def application(
    ow: OpenWorkflow,
    known: KnownWorkflows,
    *,
    host: str,
    auth: str | None,
    auth_header: str | None,
    trusted_proxies: Sequence[str],
    insecure: bool,
    allow_actions: bool,
    hide_values: bool,
    secret: str | None,
) -> Dashboard:
    """Return the dashboard of the command. Raises ConfigurationError."""
    access = _access(
        host,
        auth=auth,
        auth_header=auth_header,
        trusted_proxies=trusted_proxies,
        insecure=insecure,
    )
    options = Options(
        allow_actions=allow_actions,
        hide_values=hide_values,
        known=known,
    )
    return Dashboard(ow, options=options, access=access, secret=secret)


def _access(
    host: str,
    *,
    auth: str | None,
    auth_header: str | None,
    trusted_proxies: Sequence[str],
    insecure: bool,
) -> Access:
    given = {"--auth": auth, "--auth-header": auth_header, "--insecure": insecure or None}
    ways = [name for name, value in given.items() if value is not None]
    if len(ways) > 1:
        raise ConfigurationError(f"{' and '.join(ways)} exclude each other: choose one of them")
    try:
        trusted = networks(trusted_proxies)
    except ConfigurationError as error:
        raise ConfigurationError(f"--trusted-proxies: {error}") from None
    if auth is not None:
        if not trusted and not all(map(is_loopback, _addresses(host))):
            _log.warning(
                "passwords and cookies go over the network as they are: put a proxy with HTTPS in"
                " front, and name it by --trusted-proxies"
            )
        return ByPassword(PasswordFile(Path(auth)), trusted)
    if auth_header is not None:
        if not trusted:
            raise ConfigurationError(
                "--auth-header needs --trusted-proxies with the addresses of the proxies: else"
                " anybody could send the header"
            )
        return ByProxy(auth_header, trusted)
    if insecure:
        return Anybody(trusted)
    if trusted:
        raise ConfigurationError("--trusted-proxies needs --auth, --auth-header or --insecure")
    if not all(map(is_loopback, _addresses(host))):
        raise ConfigurationError(
            f"--host {host} is open to others, and nobody would have to log in. Add --auth FILE"
            " (users and passwords; see --add-user), or --auth-header with --trusted-proxies, or"
            " --insecure to let anybody in."
        )
    return FromHere()


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no host name"
        raise ConfigurationError(
            f"--host {host}: unknown: {reason}. Take an address of this machine, such as 127.0.0.1"
        ) from None
    return [str(each[4][0]) for each in found]


_ADVICE: Final = {
    errno.EADDRINUSE: "the port is in use: stop the program that listens there, or take another by"
    " --port",
    errno.EADDRNOTAVAIL: "this machine has no such address: take one of its own, such as"
    " 127.0.0.1, by --host",
    errno.EACCES: "the system does not permit this port: take one above 1023 by --port",
}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ConfigurationError."""
    address = _addresses(host)[0]
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        advice = _ADVICE.get(error.errno or 0, f"{error.strerror}: check --host and --port")
        raise ConfigurationError(f"cannot listen at {host}:{port}: {advice}") from None
    return listening


def address(listening: socket.socket, root_path: str | None) -> str:
    """Return the address for a browser."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{root_path or ''}/"


def check_database(app: Dashboard) -> None:
    """Read a table, before anybody opens a page. Raises DatabaseError with its subclasses."""
    reader = app.reader
    reader.read(WorkerQueries(reader.schema, reader.namespace).all().run)


def serve(
    app: Dashboard, listening: socket.socket, root_path: str, on_ready: Callable[[], None]
) -> None:
    """Answer requests until a signal stops the process. Calls ``on_ready`` when signals do so."""
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # senders.py decides whose headers count
        root_path=root_path,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = uvicorn.Server(config)

    # uvicorn raises the signal again when it has stopped; the command then ends in its own way.
    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    with suppress(KeyboardInterrupt):
        on_ready()
        server.run(sockets=[listening])
