"""Settings that fight each other: ours among themselves, and ours with the server's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from owsuper.db.connect import is_pooled
from owsuper.doctor.findings import CheckResult, ok, warning
from owsuper.settings import Settings

_SUBJECT: Final = "settings"
# Seconds. A supervisor gives up a statement without an answer after 15 s, and then reconnects.
_SHORT_LEASE: Final = 15.0
_IDLE: Final = 60.0  # a connection that only listens is idle for minutes
_SHORT_STATEMENT: Final = 5.0
_LONG_POLL: Final = 60.0
_SHORT_HANG: Final = 10.0
_LONG_DRAIN: Final = 300.0

# The server's limits in seconds, and what one that is too short does.
_LIMITS: Final = {
    "idle_session_timeout": (_IDLE, "ends idle connections, so workers reconnect all the time"),
    "statement_timeout": (_SHORT_STATEMENT, "cancels statements when the server is busy"),
    "transaction_timeout": (_SHORT_STATEMENT, "cancels statements when the server is busy"),
    "lock_timeout": (1.0, "cancels writes that wait for another transaction"),
}


def check(conn: Connection[Any], settings: Settings) -> Iterator[CheckResult]:
    """Check the settings of a worker in this directory and environment."""
    found = [*_ours(settings, pooled=is_pooled(conn)), *_servers(conn)]
    if settings.borrowed:
        yield ok(_SUBJECT, f"some come from {' and '.join(settings.borrowed)}")
    yield from found or [ok(_SUBJECT, "they fit each other and the server's")]


def _ours(settings: Settings, *, pooled: bool) -> Iterator[CheckResult]:
    if settings.lease < _SHORT_LEASE:
        yield warning(
            _SUBJECT,
            f"--lease {settings.lease:g}s is shorter than the {_SHORT_LEASE:g} s after which a"
            " worker gives up a connection: a short outage costs runs their leases, and steps in"
            " flight run again elsewhere",
            f"Set --lease to {_SHORT_LEASE:g}s or longer (default 30s).",
        )
    if settings.listen_url and not settings.listen:
        yield warning(
            _SUBJECT, "--listen-url has no effect with --no-listen", "Take one of them away."
        )
    polls = not settings.listen or (pooled and not settings.listen_url)
    if polls and settings.poll_interval > _LONG_POLL:
        yield warning(
            _SUBJECT,
            f"workers only poll, every {settings.poll_interval:g} s: runs start late",
            "Set --listen-url, or a shorter --poll-interval.",
        )
    if settings.durable_claims and settings.poll_interval < 0.1:
        yield warning(
            _SUBJECT,
            f"--durable-claims with --poll-interval {settings.poll_interval:g}s flushes the disk"
            " at each poll that finds runs",
            "Set a longer --poll-interval; notifications wake the worker.",
        )
    if settings.hang_timeout is not None and settings.hang_timeout < _SHORT_HANG:
        yield warning(
            _SUBJECT,
            f"--hang-timeout {settings.hang_timeout:g}s: a child process is killed when a step"
            " holds the interpreter for longer, as a large JSON document or regular expression may",
            f"Set --hang-timeout to {_SHORT_HANG:g}s or longer.",
        )
    if settings.graceful_timeout > _LONG_DRAIN:
        yield warning(
            _SUBJECT,
            f"--graceful-timeout {settings.graceful_timeout:g}s: Kubernetes and Docker kill a"
            " worker after their own limits, 30 s and 10 s by default",
            "Set terminationGracePeriodSeconds or --stop-timeout to ten seconds more, and ignore"
            " this. systemd gives the time that the worker asks for.",
        )


def _servers(conn: Connection[Any]) -> Iterator[CheckResult]:
    """Check the limits that the server sets for this role."""
    rows = conn.execute(
        b"SELECT name, reset_val::double precision, unit, source FROM pg_settings"
        b" WHERE name = ANY ($1::text[])",
        [list(_LIMITS)],
    ).fetchall()
    for name, value, unit, source in rows:
        least, consequence = _LIMITS[name]
        seconds = value / 1000 if unit == "ms" else value
        if 0 < seconds < least:
            yield warning(
                _SUBJECT,
                f"{name} is {seconds:g} s (from {source}): it {consequence}",
                f'For the role of the workers: ALTER ROLE "{conn.info.user}" SET {name} = 0',
            )
