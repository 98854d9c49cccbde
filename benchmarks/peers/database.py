"""The database of one peer on the common server, and PostgreSQL's counters of it."""

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
from benchmarks.peers.processes import PeerProcesses
from benchmarks.peers.roster import Peer
from benchmarks.server import Server

TIMEOUT = 30.0

_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = $1"
_WAL = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"


@dataclass(frozen=True, slots=True)
class PeerDatabase:
    """``url`` leads to the database ``name``, which only ``processes`` and the driver use."""

    server: Server
    name: str
    url: str
    processes: PeerProcesses

    def transactions(self) -> int:
        """Transactions committed in the database so far, including those that only read.

        PostgreSQL counts those of a session up to a second late, but no later than at its end.
        So this waits for the end of all sessions.
        """
        give_up = time.monotonic() + TIMEOUT
        with self.server.connect() as conn:
            while _number(conn, _SESSIONS, self.name):
                if time.monotonic() > give_up:
                    raise PeerError("sessions in its database do not end")
                time.sleep(0.02)
            return int(_number(conn, _COMMITS, self.name))

    def analyze(self) -> None:
        """Analyze the tables, as autovacuum does when a backlog grows slowly."""
        with self._connect() as conn:
            conn.execute("ANALYZE")

    @contextmanager
    def observe(self) -> Iterator[Observation]:
        """Queries in a single transaction, so as to add one commit only."""
        with self._connect() as conn, conn.transaction():
            yield Observation(conn, self.processes.peer)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url, autocommit=True, cursor_factory=psycopg.RawCursor)


@dataclass(frozen=True, slots=True)
class Observation:
    """Queries about the runs and the WAL."""

    conn: psycopg.Connection[tuple[object, ...]]
    peer: Peer

    def remaining(self) -> int:
        """The number of runs that are not completed."""
        return int(_number(self.conn, self.peer.remaining))

    def wal_bytes(self) -> float:
        """The bytes of WAL written so far."""
        return _number(self.conn, _WAL)


@contextmanager
def peer_database(server: Server, peer: Peer) -> Iterator[PeerDatabase]:
    """The peer's tables in a new database, which is dropped at the end."""
    name = f"peer_{uuid4().hex[:12]}"
    url = urlsplit(server.url)._replace(path=f"/{name}").geturl()
    with tempfile.TemporaryDirectory(prefix="owsuper-peer-") as directory:
        processes = PeerProcesses(peer, url, Path(directory))
        _execute(server, sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(_quoted(name)))
        try:
            processes.run("setup")
            yield PeerDatabase(server, name, url, processes)
        finally:
            processes.close()
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
