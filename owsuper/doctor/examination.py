"""All checks, in the order in which their findings are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import Connection

from owsuper.db.connect import connect
from owsuper.doctor import drift, notifications, retention, server, vacuum, values, workers
from owsuper.doctor.findings import CheckResult, problem
from owsuper.errors import OwsuperError
from owsuper.settings import Settings

_STATEMENT_TIMEOUT: Final = 20.0  # seconds; a check that takes longer is given up


@dataclass(frozen=True, slots=True)
class Patient:
    """The connection and the settings that are examined. ``url`` is the database's."""

    conn: Connection[Any]
    settings: Settings
    url: str


Check: TypeAlias = Callable[[Patient], Iterator[CheckResult]]

_CHECKS: Final[dict[str, Check]] = {
    "server": lambda it: server.check_server(it.conn),
    "clock": lambda it: server.check_clock(it.conn),
    "connections": lambda it: server.check_connections(it.conn, it.settings),
    "migrations": lambda it: drift.check_migrations(it.conn, it.settings.schema),
    "privileges": lambda it: drift.check_privileges(it.conn, it.settings.schema),
    "tables": lambda it: drift.check_drift(it.conn, it.settings.schema),
    "notifications": lambda it: notifications.check(it.conn, it.settings, it.url),
    "workers": lambda it: workers.check(it.conn, it.settings),
    "settings": lambda it: values.check(it.conn, it.settings),
    "retention": lambda it: retention.check(it.conn, it.settings),
    "vacuum": lambda it: vacuum.check(it.conn, it.settings.schema),
}


def examine(settings: Settings, url: str) -> Iterator[CheckResult]:
    """Yield what each check finds, as soon as it is known.

    Changes nothing that lasts. Raises ConfigurationError and DatabaseUnreachable if there is no
    connection at the start.
    """
    timeout = _STATEMENT_TIMEOUT
    with connect(url, application_name="owsuper doctor", statement_timeout=timeout) as conn:
        for subject, check in _CHECKS.items():
            if conn.closed:
                yield problem(subject, "the connection was lost", "Run owsuper doctor again.")
                return
            try:
                yield from check(Patient(conn, settings, url))
            except (psycopg.Error, OwsuperError) as error:
                diag = error.diag.message_primary if isinstance(error, psycopg.Error) else None
                reason = diag or " ".join(str(error).split())
                yield problem(subject, f"the check failed: {reason}", "See the reason.")
