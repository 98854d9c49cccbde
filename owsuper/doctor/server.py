"""Checks of the server: its version and durability, its clock, and its connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from owsuper.db.connect import is_pooled
from owsuper.db.migrate import MINIMUM_SERVER_VERSION
from owsuper.doctor.findings import CheckResult, note, ok, problem, warning
from owsuper.settings import Settings

_MAX_SKEW: Final = 1.0  # seconds; times that clients compute are off by as much
_SAMPLES: Final = 5  # of the clock; the one with the shortest round trip counts
_SUPERVISOR: Final = 2  # connections of a worker's supervisor
_CHILD: Final = 2  # connections of a busy child process, at most; 1 more to keep log lines

# Why each of these must be on.
_DURABLE: Final = {
    "fsync": "a crash of the machine may destroy the database",
    "full_page_writes": "a crash of the machine may destroy the database",
    "synchronous_commit": "a crash of the server may lose results of finished steps, which then run"
    " again",
}


def check_server(conn: Connection[Any]) -> Iterator[CheckResult]:
    """Check version, role of the server, and whether commits are durable."""
    version = conn.info.parameter_status("server_version") or "of unknown version"
    major = conn.info.server_version // 10_000
    if 0 < major < MINIMUM_SERVER_VERSION:
        yield problem(
            "server",
            f"PostgreSQL {version} is too old",
            f"Upgrade to PostgreSQL {MINIMUM_SERVER_VERSION} or newer.",
        )
    else:
        yield ok("server", f"PostgreSQL {version}")
    standby, read_only = _row(
        conn, "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
    )
    if standby or read_only:
        yield problem(
            "server",
            "it is a standby" if standby else "transactions are read-only by default",
            "Point the database URL at the primary."
            if standby
            else "Reset default_transaction_read_only for the role, the database or the URL.",
        )
    for name, consequence in _DURABLE.items():
        (value,) = _row(conn, f"SELECT current_setting('{name}')")
        if value == "off":
            mend = f"Set {name} = on (look for it in pg_settings, ALTER ROLE and ALTER DATABASE)."
            yield warning("server", f"{name} is off: {consequence}", mend)


def check_clock(conn: Connection[Any]) -> Iterator[CheckResult]:
    """Check the difference between the clocks of this host and of the database."""
    samples = []
    for _ in range(_SAMPLES):
        sent = time.time()
        (theirs,) = _row(conn, "SELECT extract(epoch FROM clock_timestamp())::double precision")
        answered = time.time()
        samples.append((answered - sent, theirs - (sent + answered) / 2))
    trip, skew = min(samples)
    certain = abs(skew) - trip / 2
    side = "behind" if skew > 0 else "ahead of"
    if certain > _MAX_SKEW:
        yield warning(
            "clock",
            f"this host's clock is {abs(skew):.1f} s {side} the database's: times that programs"
            " here compute (due times, deadlines, filters) are off by as much",
            "Synchronize the clocks (chrony, systemd-timesyncd).",
        )
    else:
        yield ok("clock", f"within {abs(skew) + trip / 2:.3f} s of the database's")


def check_connections(conn: Connection[Any], settings: Settings) -> Iterator[CheckResult]:
    """Check whether the server has connections left for a worker with these settings."""
    if is_pooled(conn):
        yield note("connections", "a connection pooler answers; see its own limits")
        return
    allowed, used = _row(
        conn,
        "SELECT current_setting('max_connections')::integer"
        " - current_setting('superuser_reserved_connections')::integer"
        " - coalesce(current_setting('reserved_connections', true), '0')::integer,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')",
    )
    of_role, of_database = _row(
        conn,
        "SELECT (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
        " (SELECT datconnlimit FROM pg_database WHERE datname = current_database())",
    )
    left = allowed - used
    for limit, condition in ((of_role, "usename = current_user"), (of_database, "true")):
        if limit >= 0:
            (taken,) = _row(
                conn,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                f" AND {condition}",
            )
            left = min(left, limit - taken)
    child = _CHILD + (settings.keep_logs is not None)
    metrics = settings.metrics_port is not None
    retention = bool(settings.retain)
    needed = _SUPERVISOR + metrics + retention + child * settings.processes
    text = f"{left} of {allowed} are left; a worker with {settings.processes} processes needs"
    text += f" up to {needed}"
    if left < needed:
        yield warning(
            "connections",
            text,
            "Raise max_connections (or the limit of the role or database), lower --processes, or"
            " put a pooler in between.",
        )
    else:
        yield ok("connections", text)


def _row(conn: Connection[Any], query: str) -> tuple[Any, ...]:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return tuple(row)
