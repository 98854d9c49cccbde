"""Presence: who is connected, and what becomes of the runs of a supervisor that is not.

A supervisor holds an advisory lock on its id. The lock goes with its session, so whoever gets the
lock knows that the supervisor is dead or has lost its connection. The statements of the supervisor
are data, as those of ``db.claims``. The functions are for the template of a dead supervisor, and
block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from psycopg import Connection

from owsuper.db import connect, prepared
from owsuper.db.claims import Call, Rows, text
from owsuper.db.statement import load
from owsuper.version import own_version

ANNOUNCE_PERIOD: Final = 15.0
"""The longest time between two announcements of a supervisor, in seconds."""
STALE: Final = 3 * ANNOUNCE_PERIOD
"""The age in seconds at which an announcement no longer says what its supervisor does."""


@dataclass(frozen=True, slots=True)
class OtherSupervisor:
    """Another supervisor. ``host`` and ``pid`` are those of its process.

    ``missing``: it has no session. ``answers`` holds the workflows for which it answers
    notifications: all that it serves, or none if it does not listen or has no free slot.
    ``on_call``: it hears of new runs.
    """

    supervisor_id: str
    host: str
    pid: int
    missing: bool
    answers: frozenset[tuple[str, str | None]]
    on_call: bool
    free: int
    slots: int


class PresenceQueries:
    """The statements of the supervisor ``supervisor_id`` for one schema and namespace."""

    def __init__(self, schema: str, namespace: str, supervisor_id: str) -> None:
        self._namespace = namespace
        self._id = supervisor_id
        self._register = load("register_supervisor", schema)
        self._announce = load("announce", schema)
        self._leave = load("leave", schema)
        self._others = load("other_supervisors", schema)
        self._release_missing = load("release_missing", schema)

    def register(self, lease_seconds: float, host: str, pid: int) -> Call:
        """Take the lock of this supervisor, and write its row."""
        return self._register, (self._namespace, self._id, lease_seconds, host, pid)

    def announce(
        self,
        lease_seconds: float,
        host: str,
        pid: int,
        *,
        pooled: bool,
        workflows: Sequence[tuple[str, str | None]],
        status: Mapping[str, Any],
    ) -> Call:
        """Say what this supervisor serves and does, and do as ``others`` does.

        ``workflows`` are names and versions. A supervisor that is ``pooled`` finds none missing.
        """
        documents = (orjson.dumps(workflows).decode(), orjson.dumps(status).decode())
        place = (0.0 if pooled else lease_seconds, host, pid)
        about = (str(pooled).lower(), own_version(), *documents)
        return self._announce, (self._namespace, self._id, *place, *about, STALE)

    def leave(self) -> Call:
        """Forget this supervisor, which stops; one row: its id."""
        return self._leave, (self._namespace, self._id)

    def others(self) -> Call:
        """Find the other supervisors; see ``parse_others``."""
        return self._others, (self._namespace, self._id)

    def release_missing(self, supervisor_id: str) -> Call:
        """Release what a missing supervisor held, and forget the supervisor; one row each: id."""
        return self._release_missing, (self._namespace, supervisor_id)


def parse_others(rows: Rows) -> list[OtherSupervisor]:
    """Return the result of ``others``."""
    return [
        OtherSupervisor(
            text(found),
            text(host),
            int(text(pid)),
            missing=missing == b"t",
            answers=_served(workflows),
            on_call=on_call != b"false",  # one that does not say so listens for everything
            free=_number(free),
            slots=_number(slots),
        )
        for found, host, pid, missing, workflows, on_call, free, slots in rows
    ]


def _number(value: bytes | None) -> int:
    return int(value) if value and value.isdigit() else 0


@lru_cache(maxsize=256)  # they change with a deploy, and are read every second
def _served(workflows: bytes | None) -> frozenset[tuple[str, str | None]]:
    try:
        return frozenset((name, version) for name, version, *_ in orjson.loads(workflows or b"[]"))
    except (TypeError, ValueError):  # of another version of owsuper
        return frozenset()


def lock_supervisor(url: str, schema: str, supervisor_id: str) -> Connection[Any]:
    """Return a connection that takes the place of a dead supervisor, until it is closed.

    Returns when the server has noticed the death; no claim of the supervisor can follow. Behind a
    connection pooler there is no such lock. Raises ConfigurationError, DatabaseUnreachable,
    psycopg.Error.
    """
    conn = connect.connect(url, application_name="owsuper template")
    try:
        if not connect.is_pooled(conn):
            prepared.execute(conn, load("lock_supervisor", schema), (supervisor_id,))
    except BaseException:
        conn.close()
        raise
    return conn


def release_orphans(
    conn: Connection[Any],
    schema: str,
    namespace: str,
    supervisor_id: str,
    *,
    known: Sequence[str],
    lease_seconds: float,
) -> int:
    """Release the claims of a supervisor that are not ``known``; return how many.

    ``known`` holds worker ids. Raises psycopg.Error.
    """
    params = (namespace, f"{supervisor_id}:", orjson.dumps(list(known)).decode(), lease_seconds)
    return len(prepared.execute(conn, load("release_lost", schema), params))
