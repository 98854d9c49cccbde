"""A database of a peer's own on the server that all share, and what PostgreSQL counts there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from benchmarks.peers.installing import PeerError
from benchmarks.peers.roster import Peer
from benchmarks.peers.running import Crew
from benchmarks.server import Server

PATIENCE = 30.0

_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = $1"
_WAL = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"


@dataclass(frozen=True, slots=True)
class Stage:
    """``url`` is of the database called ``name``, which only ``crew`` and we use."""

    server: Server
    name: str
    url: str
    crew: Crew

    def transactions(self) -> int:
        """Committed here so far, reading ones included.

        PostgreSQL counts those of a session up to a second late, but no later than at its end.
        So this waits for the end of all sessions.
        """
        give_up = time.monotonic() + PATIENCE
        with self.server.connect() as conn:
            while _number(conn, _SESSIONS, self.name):
                if time.monotonic() > give_up:
                    raise PeerError("sessions in its database do not end")
                time.sleep(0.02)
            return int(_number(conn, _COMMITS, self.name))

    def analyze(self) -> None:
        """As autovacuum would have done, had the backlog grown more slowly."""
        with self._connect() as conn:
            conn.execute("ANALYZE")

    @contextmanager
    def look(self) -> Iterator[Look]:
        """All looks are one transaction, so as not to count among the peer's."""
        with self._connect() as conn, conn.transaction():
            yield Look(conn, self.crew.peer)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url, autocommit=True, cursor_factory=psycopg.RawCursor)


@dataclass(frozen=True, slots=True)
class Look:
    conn: psycopg.Connection[tuple[object, ...]]
    peer: Peer

    def remaining(self) -> int:
        """Runs that are not completed."""
        return int(_number(self.conn, self.peer.remaining))

    def wal_bytes(self) -> float:
        return _number(self.conn, _WAL)


@contextmanager
def staged(server: Server, peer: Peer) -> Iterator[Stage]:
    """The peer's tables in a database of their own, which is dropped afterwards."""
    name = f"peer_{uuid4().hex[:12]}"
    url = urlsplit(server.url)._replace(path=f"/{name}").geturl()
    with tempfile.TemporaryDirectory(prefix="owsuper-peer-") as directory:
        crew = Crew(peer, url, Path(directory))
        _execute(server, sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(_quoted(name)))
        try:
            crew.run("setup")
            yield Stage(server, name, url, crew)
        finally:
            crew.close()
            _execute(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(_quoted(name)))


def _quoted(name: str) -> sql.Identifier:
    return sql.Identifier(name)


def _execute(server: Server, statement: sql.Composed) -> None:
    with server.connect() as conn:
        conn.execute(statement.as_string(conn).encode())


def _number(conn: psycopg.Connection[tuple[object, ...]], query: str, *params: object) -> float:
    row = conn.execute(query.encode(), params).fetchone()
    assert row is not None
    return float(str(row[0]))
