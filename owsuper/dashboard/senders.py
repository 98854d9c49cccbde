"""Who sent a request: the peer itself, or the one for whom a trusted proxy sent it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from starlette.requests import HTTPConnection

from owsuper.errors import ConfigurationError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
_FORWARDING: Final = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)


def networks(addresses: Sequence[str]) -> tuple[Network, ...]:
    """Return addresses and ranges such as ``10.0.0.0/8``. Raises ConfigurationError."""
    found = []
    for address in addresses:
        try:
            found.append(ipaddress.ip_network(address.strip()))
        except ValueError:
            raise ConfigurationError(
                f"must be addresses such as 10.0.0.7 or ranges such as 10.0.0.0/8, with commas"
                f" between them, not {address!r:.80}"
            ) from None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Sender:
    """``address`` is empty if it is not known. ``host`` is what the browser has called."""

    address: str
    host: str
    secure: bool
    """Whether the browser speaks HTTPS."""
    trusted: bool
    """Whether a trusted proxy has sent the request."""


def sender_of(conn: HTTPConnection, trusted: Sequence[Network]) -> Sender:
    """Return who sent a request. Headers of forwarding count if a ``trusted`` proxy sends them."""
    direct = conn.client.host if conn.client else ""
    host = conn.headers.get("host", "")
    secure = conn.scope.get("scheme") in ("https", "wss")
    if not is_within(direct, trusted):
        return Sender(direct, host, secure, trusted=False)
    return Sender(
        _first_untrusted(conn, direct, trusted),
        _forwarded(conn, "x-forwarded-host", host),
        _forwarded(conn, "x-forwarded-proto", "https" if secure else "http") == "https",
        trusted=True,
    )


def _forwarded(conn: HTTPConnection, header: str, otherwise: str) -> str:
    """Return what the proxy that the browser called says: the first of a list."""
    return conn.headers.get(header, otherwise).partition(",")[0].strip()


def _first_untrusted(conn: HTTPConnection, direct: str, trusted: Sequence[Network]) -> str:
    """Return the last address that a trusted proxy has not named as another proxy."""
    hops = [
        _without_port(hop.strip())
        for value in conn.headers.getlist("x-forwarded-for")
        for hop in value.split(",")
        if hop.strip()
    ]
    for hop in reversed(hops):
        if not is_within(hop, trusted):
            return hop[:64]
    return hops[0] if hops else direct


def _without_port(hop: str) -> str:
    """Return the address of ``10.0.0.7:5000`` or ``[2001:db8::1]:5000``, as some proxies write."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def is_within(address: str, ranges: Sequence[Network]) -> bool:
    """Return whether ``address`` is one of these; False for what is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in each for each in ranges)


def is_loopback(address: str) -> bool:
    """Return whether ``address`` is one of this machine's own."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def is_from_here(conn: HTTPConnection) -> bool:
    """Return whether a browser on this machine has sent the request, to a name of this machine.

    Another name may be one of an attacker's that leads to 127.0.0.1 (DNS rebinding). And what a
    proxy on this machine forwards may come from anywhere. nginx, unless told otherwise, adds no
    header and changes the name to that of this machine; but it speaks HTTP/1.0, as no browser does.
    """
    host = conn.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    forwarded = any(header in conn.headers for header in _FORWARDING)
    forwarded |= conn.scope.get("http_version") == "1.0"
    known = name.lower() in _LOOPBACK_NAMES or is_loopback(name.strip("[]"))
    return bool(conn.client and is_loopback(conn.client.host) and known and not forwarded)
