"""The database of a command, and the state of its tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from owsuper import embedded
from owsuper.db import migrate as migrations
from owsuper.db.connect import connect, explain_failure
from owsuper.errors import DatabaseError, MigrationError
from owsuper.settings import Settings

_log = logging.getLogger("owsuper.cli")


def choose(settings: Settings, application: str | None, stack: ExitStack) -> str:
    """Return the database URL of a command.

    The order is: the flag, the ``application``'s own URL, another setting, the embedded server.
    ``stack`` keeps an embedded server running until it is closed. Raises EmbeddedUnavailable.
    """
    flag = settings.database_url if "database_url" in settings.given else None
    if flag and application and flag != application:
        _log.warning(
            "OpenWorkflow(database_url=...) in the application names another database than"
            " --database-url: this worker serves the database of --database-url, but the"
            " application starts its runs in its own"
        )
    if url := flag or application or settings.database_url:
        return url
    return stack.enter_context(embedded.acquire(Path(".owsuper"))).url


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection for the command. Raises DatabaseError for a refused statement."""
    with connect(url, application_name="owsuper migrate") as conn:
        try:
            yield conn
        except psycopg.Error as error:
            if conn.broken:
                raise explain_failure(error, url) from error
            reason = error.diag.message_primary or str(error)
            raise DatabaseError(f"PostgreSQL refused a statement: {reason}") from error


def prepare(url: str, schema: str, *, migrate: bool) -> None:
    """Bring the tables in ``schema`` up to date, or check them if not ``migrate``.

    Raises MigrationError when tables are missing, and DatabaseUnreachable.
    """
    with connected(url) as conn:
        if migrate:
            migrations.migrate(conn, schema)
        elif missing := migrations.check(conn, schema):
            raise MigrationError(
                f'the tables in schema "{schema}" are not complete: {", ".join(missing)} missing.'
                f" Run owsuper migrate --schema {schema}, or start without --no-migrate."
            )
