"""Connection strings with several hosts, taken apart.

libpq tries one host after the other, but when it is driven step by step it never leaves one
that accepts the connection and then says nothing, as a frozen machine or a full proxy does:
``connect_timeout`` is for its blocking calls alone. Whoever has the clock must have the list.
"""

from __future__ import annotations

import random

from psycopg.conninfo import conninfo_to_dict, make_conninfo


def each_host(conninfo: str) -> list[str]:
    """One connection string for each host of ``conninfo``, in the order of the attempts.

    What libpq would complain of, and hosts that it reads elsewhere (PGHOST, a service file),
    are left to it: the list then has one member.
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
    """Seconds that an attempt on one host may take, as libpq reads them; 0 is for ever."""
    try:
        seconds = int(str(conninfo_to_dict(conninfo).get("connect_timeout") or 0))
    except ValueError:
        return 0.0
    return float(max(2, seconds)) if seconds > 0 else 0.0
