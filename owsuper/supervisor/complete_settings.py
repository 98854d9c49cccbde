"""The settings of a worker once its application is loaded and its database is chosen."""

from __future__ import annotations

from dataclasses import replace

from owsuper.ipc.messages import ApplicationLoaded
from owsuper.settings import Settings, variable_name


def complete_settings(settings: Settings, loaded: ApplicationLoaded, url: str) -> Settings:
    """Return ``settings`` with ``url``, and with the application's settings unless flags win."""
    namespace = None if "namespace" in settings.given else loaded.namespace
    schema = None if "schema" in settings.given else loaded.schema
    return replace(
        settings,
        database_url=url,
        namespace=settings.namespace if namespace is None else namespace,
        schema=settings.schema if schema is None else schema,
    )


def client_environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which clients in steps use the worker's database."""
    names = ("database_url", "namespace", "schema", "call_timeout")
    return {variable_name(name): str(getattr(settings, name)) for name in names}
