"""What all transactions of callers have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from owsuper.errors import ConfigurationError

Rows: TypeAlias = list[tuple[Any, ...]]

_PARAMETER: Final = re.compile(r"\$(\d+)(::jsonb?\b)?")
_IDLE: Final = 0  # libpq's PQTRANS_IDLE


class SyncTransaction(Protocol):
    """The open transaction of a caller. Errors are those of the caller's library."""

    @property
    def identity(self) -> object:
        """The driver's connection, which stays the same from one transaction to the next."""
        ...

    def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Execute a statement with ``$1, $2 …`` parameters; return its rows."""
        ...

    def finish(self) -> bool:
        """Send what is not sent yet. Return False if the transaction has been ended."""
        ...


class AsyncTransaction(Protocol):
    """The open transaction of a caller on an async connection."""

    @property
    def identity(self) -> object:
        """As in ``SyncTransaction``."""
        ...

    async def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Awaitable ``SyncTransaction.fetch``."""
        ...

    async def finish(self) -> bool:
        """Awaitable ``SyncTransaction.finish``."""
        ...


def is_idle(driver_connection: Any) -> bool:
    """Whether a connection of psycopg, psycopg2 or asyncpg is open, and in no transaction."""
    if hasattr(driver_connection, "is_in_transaction"):  # asyncpg
        return not (driver_connection.is_closed() or driver_connection.is_in_transaction())
    return bool(driver_connection.info.transaction_status == _IDLE)


def is_instance(value: object, *names: str) -> bool:
    """Whether a class of ``value``'s, or a base, has one of these names (``package.Class``).

    A name matches a class of any module of the package.
    """
    return any(
        f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}" in names
        for cls in type(value).__mro__
    )


def with_text_json(text: str) -> str:
    """Let the server read JSON from text, whatever the connection's own codec of JSON does."""
    return _PARAMETER.sub(
        lambda match: f"${match[1]}::text{match[2]}" if match[2] else match[0], text
    )


def with_named_parameters(text: str) -> str:
    """Return a statement with ``%(p1)s`` for each ``$1``."""
    escaped = with_text_json(text).replace("%", "%%")
    return _PARAMETER.sub(lambda match: f"%(p{match[1]})s{match[2] or ''}", escaped)


def by_name(params: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters for ``with_named_parameters``."""
    return {f"p{number}": value for number, value in enumerate(params, 1)}


def sqlstate(exc: BaseException) -> str | None:
    """Return the SQLSTATE that the server sent, from a driver's error or from one around it."""
    for each in (exc, getattr(exc, "orig", None), exc.__cause__):
        state = getattr(each, "sqlstate", None) or getattr(each, "pgcode", None)
        if isinstance(state, str):
            return state
    return None


def closed(what: str) -> ConfigurationError:
    """Return the error for a connection that is closed."""
    return ConfigurationError(f"connection: the {what} is closed; pass one that is open")


def autocommits(what: str, instead: str) -> ConfigurationError:
    """Return the error for a connection without a transaction that the caller could roll back."""
    return ConfigurationError(
        f"connection: the {what} is in autocommit mode and in no transaction, so what is stored"
        f" would not share yours; {instead}, or leave out connection"
    )
