"""Slows down who tries passwords: after some wrong ones, each further try has to wait longer."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_FREE: Final = 5  # wrong passwords before the first pause
_FIRST, _LONGEST = 1.0, 300.0  # seconds of a pause
_FORGET: Final = 3600.0  # seconds without a wrong password
_MOST: Final = 20_000  # addresses and names that are remembered


class Slowing:
    """Wrong passwords, by address, and by address and name.

    Not by name alone: then anybody could lock out a user whose name is known.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[tuple[str, ...], tuple[int, float]] = OrderedDict()

    def pause(self, address: str, name: str) -> float:
        """Return how many seconds are left before this address may try this name again."""
        now = self._clock()
        with self._lock:
            return max((self._until(key) - now for key in _keys(address, name)), default=0.0)

    def failed(self, address: str, name: str) -> None:
        """Remember a wrong password."""
        now = self._clock()
        with self._lock:
            for key in _keys(address, name):
                count, last = self._failed.pop(key, (0, now))
                self._failed[key] = (1 if now - last > _FORGET else count + 1, now)
            while len(self._failed) > _MOST:
                self._failed.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """Forget the wrong passwords of this name from this address, and the last of the address.

        Others of the address stay: else whoever has one account could try those of others.
        """
        of_address, of_name = _keys(address, name)
        with self._lock:
            self._failed.pop(of_name, None)
            count, last = self._failed.get(of_address, (0, 0.0))
            if count > 1:
                self._failed[of_address] = (count - 1, last)
            else:
                self._failed.pop(of_address, None)

    def _until(self, key: tuple[str, ...]) -> float:
        count, last = self._failed.get(key, (0, 0.0))
        # Several people may share an address.
        beyond = count - (_FREE if len(key) > 1 else 4 * _FREE)
        return -math.inf if beyond < 0 else last + min(_LONGEST, _FIRST * 2.0 ** min(beyond, 10))


def _keys(address: str, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    network = _network(address)
    return (network,), (network, name[:100])


def _network(address: str) -> str:
    """Return the address, or the /64 of one of IPv6: whoever has one has all of its addresses."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:  # at a socket for both versions
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
