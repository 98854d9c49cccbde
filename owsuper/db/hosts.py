"""The hosts of a connection string: split, and looked up without blocking.

libpq tries one host after the other. But its non-blocking calls ignore ``connect_timeout``, so
libpq waits forever for a host that accepts the connection and then sends nothing, such as a frozen
machine or a full proxy. So a non-blocking caller iterates over the hosts itself.

``getaddrinfo`` has no non-blocking form, and may take half a minute while the name servers are
unreachable. libpq calls it at the start of a connection, unless ``hostaddr`` is given.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import threading
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import OperationalError


class ConnectAttempt:
    """Connects to the first host of a connection string that answers, without blocking.

    Wait until ``fileno()`` is ready for ``events``, then call ``poll``. ``since`` is
    time.monotonic() when the look-up of the names, or the attempt on the current host, began.
    ``start``, ``poll`` and ``try_next_host`` raise OperationalError if all hosts have failed.
    """

    def __init__(self, conninfo: str) -> None:
        self.events = 0
        self.since = monotonic()
        self._conninfo = conninfo
        self._lookup: HostLookup | None = None
        self._hosts: deque[str] = deque()  # not tried yet
        self._failures: list[str] = []  # messages of the hosts that failed
        self._pgconn: pq.abc.PGconn | None = None

    @property
    def has_next_host(self) -> bool:
        """Whether there is a host that was not tried yet."""
        return bool(self._hosts)

    def start(self) -> None:
        """Begin with the look-up, or with the first host."""
        if needs_lookup(self._conninfo):
            self._lookup, self.events = HostLookup(self._conninfo), EVENT_READ
        else:
            self._hosts.extend(each_host(self._conninfo))
            self.try_next_host()

    def fileno(self) -> int:
        """Return the descriptor to wait on; it may change with each call."""
        if self._lookup:
            return self._lookup.fileno()
        return self._pgconn.socket if self._pgconn else -1

    def poll(self) -> pq.abc.PGconn | None:
        """Go on; return the connection once it is made."""
        if self._lookup:
            conninfo = self._lookup.result()
            self._lookup.close()
            self._lookup = None
            self._hosts.extend(each_host(conninfo))
            self.try_next_host()
            return None
        assert self._pgconn is not None
        match self._pgconn.connect_poll():
            case pq.PollingStatus.READING:
                self.events = EVENT_READ
            case pq.PollingStatus.WRITING:
                self.events = EVENT_WRITE
            case pq.PollingStatus.OK:
                return self._pgconn
            case _:
                self.try_next_host(connection_error(self._pgconn))
        return None

    def try_next_host(self, failure: str | None = None) -> None:
        """Begin with the next host, because of the ``failure`` of the current one."""
        while True:
            if failure is not None:
                self._failures.append(failure)
            if self._pgconn:
                self._pgconn.finish()
            if not self._hosts:
                raise OperationalError("\n".join(self._failures))
            self.since = monotonic()
            pgconn = self._pgconn = pq.PGconn.connect_start(self._hosts.popleft().encode())
            self.events = EVENT_WRITE  # libpq's manual: as after WRITING
            if pgconn.status != pq.ConnStatus.BAD:
                return
            failure = connection_error(pgconn)

    def close(self) -> None:
        """Give up; close the connection, if there is one."""
        if self._lookup:
            self._lookup.close()
        if self._pgconn:
            self._pgconn.finish()


def connection_error(pgconn: pq.abc.PGconn) -> str:
    """Return libpq's message about a connection that failed."""
    return pgconn.get_error_message() or "the connection is lost"


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

    ``fileno()`` becomes readable when ``result()`` is ready. Raises OperationalError if this
    process can have no more descriptors or threads.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._outcome: str | OperationalError | None = None
        try:
            self._reader, self._writer = socket.socketpair()
        except OSError as exc:
            raise OperationalError(f"the hosts cannot be looked up: {exc}") from exc
        # A daemon: the exit of the process does not wait for name servers.
        thread = threading.Thread(target=self._look_up, name="owsuper-resolve", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            self._reader.close()
            self._writer.close()
            raise OperationalError(f"the hosts cannot be looked up: {exc}") from exc

    def fileno(self) -> int:
        """Return the descriptor that becomes readable at the end."""
        return self._reader.fileno()

    def result(self) -> str:
        """Return the connection string with addresses. Raises OperationalError."""
        if isinstance(self._outcome, str):
            return self._outcome
        raise self._outcome or OperationalError("the look-up is not finished")

    def close(self) -> None:
        """Abandon the look-up. Its thread ends after the look-up."""
        self._reader.close()

    def _look_up(self) -> None:
        try:
            self._outcome = with_addresses(self._conninfo)
        except OperationalError as exc:
            self._outcome = exc
        finally:
            self._writer.close()  # the reader gets EOF, which ends the wait


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
        return [""]  # libpq then uses the host itself
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
