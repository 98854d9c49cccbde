"""The hosts of a connection string: taken apart, and looked up without blocking.

libpq tries one host after the other. But in its non-blocking calls ``connect_timeout`` has no
effect, so libpq never leaves a host that accepts the connection and then says nothing, such as a
frozen machine or a full proxy. So a non-blocking caller goes through the list itself.

``getaddrinfo`` has no non-blocking form, and may take half a minute while the name servers are
away. libpq calls it at the start of a connection, unless it is given ``hostaddr``.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import threading

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import OperationalError


def each_host(conninfo: str) -> list[str]:
    """Return one connection string for each host of ``conninfo``, in the order of the attempts.

    A string with mistakes, or without hosts (libpq reads PGHOST or a service file), is returned
    as it is, for libpq.
    """
    given = conninfo_to_dict(conninfo)
    columns = {
        name: str(given[name]).split(",")
        for name in ("host", "hostaddr", "port")
        if given.get(name)
    }
    counts = {len(column) for name, column in columns.items() if name != "port"}
    ports = len(columns.get("port", [""]))
    if len(counts) != 1 or ports not in (1, *counts):
        return [conninfo]
    [count] = counts
    if count == 1:
        return [conninfo]
    found = [
        make_conninfo(conninfo, **{name: each[i % len(each)] for name, each in columns.items()})
        for i in range(count)
    ]
    if given.get("load_balance_hosts") == "random":
        random.shuffle(found)
    return found


def connect_timeout(conninfo: str) -> float:
    """Return the seconds for an attempt on one host, by libpq's rules; 0 means no limit."""
    try:
        seconds = int(str(conninfo_to_dict(conninfo).get("connect_timeout") or 0))
    except ValueError:
        return 0.0
    return float(max(2, seconds)) if seconds > 0 else 0.0


class HostLookup:
    """A look-up of all hosts of a connection string, by a thread that ends with the look-up.

    ``fileno()`` becomes readable when ``result()`` is ready.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._outcome: str | OperationalError | None = None
        self._reader, self._writer = socket.socketpair()
        # A daemon: the exit of the process does not wait for name servers.
        threading.Thread(target=self._look_up, name="owsuper-resolve", daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable at the end."""
        return self._reader.fileno()

    def result(self) -> str:
        """Return the connection string with addresses. Raises OperationalError."""
        if isinstance(self._outcome, str):
            return self._outcome
        raise self._outcome or OperationalError("the look-up is not finished")

    def close(self) -> None:
        """Ignore the outcome; the thread ends by itself."""
        self._reader.close()

    def _look_up(self) -> None:
        try:
            self._outcome = with_addresses(self._conninfo)
        except OperationalError as exc:
            self._outcome = exc
        finally:
            self._writer.close()  # end of file is the signal


def needs_lookup(conninfo: str) -> bool:
    """Return whether libpq would have to look up a name.

    Names in a service file or in PGHOST are not considered; libpq looks those up.
    """
    given = conninfo_to_dict(conninfo)
    return not given.get("hostaddr") and any(map(_is_name, _hosts(given.get("host"))))


def with_addresses(conninfo: str) -> str:
    """Return the connection string with every address of every host, in order, in ``hostaddr``.

    Blocks. Leaves out hosts that cannot be found. Raises OperationalError if none is found.
    """
    given = conninfo_to_dict(conninfo)
    hosts = _hosts(given.get("host"))
    ports = str(given.get("port") or "").split(",")
    found: list[tuple[str, str, str]] = []
    failure = OperationalError("no host to connect to")
    for index, host in enumerate(hosts):
        port = ports[index] if len(ports) == len(hosts) else ports[0]
        try:
            found += [(host, address, port) for address in _addresses(host)]
        except (OSError, UnicodeError) as exc:
            failure = OperationalError(f'could not translate host name "{host}" to address: {exc}')
    if not found:
        raise failure
    names, addresses, numbers = (",".join(column) for column in zip(*found, strict=True))
    return make_conninfo(conninfo, host=names, hostaddr=addresses, port=numbers)


def _hosts(text: object) -> list[str]:
    return str(text or "").split(",")


def _is_name(host: str) -> bool:
    if not host or host.startswith(("/", "@")):  # a socket's directory, or an abstract socket
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _addresses(host: str) -> list[str]:
    if not _is_name(host):
        return [""]  # libpq then reads the host as it stands
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
