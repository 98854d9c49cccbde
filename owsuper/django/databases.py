"""The database of a Django project, and Django's connections to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Self

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from psycopg import pq
from psycopg.conninfo import make_conninfo

from owsuper.client.database import ExplicitSettings
from owsuper.django.project_settings import ProjectSettings, read
from owsuper.errors import ConfigurationError


def project_settings() -> ProjectSettings:
    """Return what ``settings.OWSUPER`` says. Raises ConfigurationError."""
    try:
        return read(getattr(settings, "OWSUPER", {}))
    except ImproperlyConfigured as error:  # there are no settings at all, or they are wrong
        raise ConfigurationError(
            f"{error} Set DJANGO_SETTINGS_MODULE, as manage.py does, and call django.setup()."
        ) from error


def explicit_settings() -> ExplicitSettings:
    """Return what the project says of the database. Raises ConfigurationError."""
    chosen = project_settings()
    if not apps.models_ready:
        raise ConfigurationError(
            "Django's apps are not loaded yet. Call django.setup() first; a worker is started by"
            " manage.py owsuper worker, or by owsuper --module owsuper.django.project"
        )
    url = chosen.values.get("database_url")
    return ExplicitSettings(
        database_url=url if chosen.alias is None else conninfo_of(chosen.alias),
        namespace=chosen.values.get("namespace"),
        schema=chosen.values.get("schema"),
        listen=chosen.values.get("listen"),
        call_timeout=chosen.values.get("call_timeout"),
    )


def conninfo_of(alias: str) -> str:
    """Return the connection string for the database ``alias`` as Django uses it now.

    Tests use another database than the settings name. Raises ConfigurationError.
    """
    if alias not in connections:
        known = ", ".join(map(repr, connections))
        raise ConfigurationError(
            f'OWSUPER["DATABASE"]: there is no {alias!r} in DATABASES, which has {known}'
        )
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql":
        raise ConfigurationError(
            f"OWSUPER: DATABASES[{alias!r}] is one of {wrapper.vendor}, and owsuper needs"
            ' PostgreSQL. Name another alias in OWSUPER["DATABASE"], or a URL in'
            ' OWSUPER["DATABASE_URL"].'
        )
    try:
        given: dict[str, Any] = wrapper.get_connection_params()
    except ImproperlyConfigured as error:
        raise ConfigurationError(f"DATABASES[{alias!r}]: {error}") from error
    if role := wrapper.settings_dict["OPTIONS"].get("assume_role"):
        escaped = re.sub(r"([\\\s])", r"\\\1", str(role))
        given["options"] = f"{given.get('options', '')} -c role={escaped}".strip()
    # The others are Django's own, or those of its library.
    known_to_libpq = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return make_conninfo(
        **{
            key: str(value)
            for key, value in given.items()
            if key in known_to_libpq and key != "client_encoding" and value is not None
        }
    )


class FreshConnections:
    """Closes Django's connections around a step if they are too old or broken, as for a request.

    A connection in a transaction, such as that of a TestCase, stays open.

    An async function has a thread of its own for the ORM, as a request under ASGI has, and its
    connections are closed at the end.
    """

    keep: ClassVar[bool] = True
    """Whether connections may outlast a step. They are in the way of dropping a database."""

    def __enter__(self) -> Self:
        _close(only_old=True)
        return self

    def __exit__(self, *_: object) -> None:
        _close(only_old=self.keep)

    async def __aenter__(self) -> Self:
        context: Any = ThreadSensitiveContext()  # its methods have no annotations
        self._context = context
        await context.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await sync_to_async(connections.close_all)()
        finally:
            await self._context.__aexit__(*error)


def _close(*, only_old: bool) -> None:
    for wrapper in connections.all(initialized_only=True):
        if wrapper.in_atomic_block:
            continue
        if only_old:
            wrapper.close_if_unusable_or_obsolete()
        else:
            wrapper.close()


def close_everything() -> None:
    """Close all connections of this thread, and all pools: a process is about to be forked."""
    wrappers: Sequence[Any] = connections.all(initialized_only=True)
    for wrapper in wrappers:
        wrapper.close()
        with suppress(AttributeError):  # other databases have no pools
            wrapper.close_pool()
