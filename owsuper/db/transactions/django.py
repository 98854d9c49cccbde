"""Connections of Django, and their aliases."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from owsuper.db.transactions.transaction import (
    Rows,
    autocommits,
    by_name,
    is_idle,
    is_instance,
    with_named_parameters,
)
from owsuper.errors import ConfigurationError


class DjangoTransaction:
    """A transaction on one of Django's connections."""

    def __init__(self, wrapper: Any) -> None:
        if wrapper.vendor != "postgresql":
            raise ConfigurationError(
                f"connection: Django's connection {wrapper.alias!r} is one to {wrapper.vendor};"
                " pass one to PostgreSQL"
            )
        if not wrapper.in_atomic_block and wrapper.get_autocommit():
            raise autocommits(
                f"connection {wrapper.alias!r} of Django", "use it within transaction.atomic()"
            )
        self._wrapper = wrapper

    @property
    def identity(self) -> object:
        """The driver's connection."""
        return self._wrapper.connection

    def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Execute a statement; return its rows. Raises django.db.Error."""
        with self._wrapper.cursor() as cursor:
            cursor.execute(with_named_parameters(text), by_name(params))
            return cursor.fetchall() if cursor.description else []

    def finish(self) -> bool:
        """Return whether the driver's connection is still in a transaction, or is closed.

        Django opens no other one within ``atomic``: the next statement says that it is closed.
        """
        return self._wrapper.connection is None or not is_idle(self._wrapper.connection)


def sync_transaction(connection: object) -> DjangoTransaction | None:
    """Return the transaction, unless this is no connection of Django and no alias of one."""
    if not is_sync(connection):
        return None
    alias = connection if isinstance(connection, str) else getattr(connection, "alias", None)
    return DjangoTransaction(_wrapper(alias))


@contextmanager
def atomic(alias: str) -> Iterator[Any]:
    """Open a transaction on Django's connection ``alias``, outermost; yield the connection.

    The connection of this thread is closed first if Django finds it unusable or too old.
    """
    wrapper = _wrapper(alias)
    wrapper.close_if_unusable_or_obsolete()
    with import_module("django.db.transaction").atomic(using=alias, durable=True):
        yield wrapper


def _wrapper(alias: Any) -> Any:
    if "django.db" not in sys.modules:
        raise ConfigurationError(
            f"connection: Django, whose connection {alias!r} this is to be, is not imported in this"
            " process; call django.setup() in the module of the workflows"
        )
    connections = sys.modules["django.db"].connections
    if alias not in connections:
        known = ", ".join(map(repr, connections))
        raise ConfigurationError(f"connection: Django has no connection {alias!r}; it has {known}")
    return connections[alias]


def is_sync(connection: object) -> bool:
    """Whether ``run`` takes this connection."""
    if "django.db" not in sys.modules:
        return False
    return isinstance(connection, str) or is_instance(
        connection, "django.BaseDatabaseWrapper", "django.ConnectionProxy"
    )
