"""The Django app: put ``"owsuper.django"`` into ``INSTALLED_APPS``."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.db import router
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules

from owsuper.db import connect, migrate
from owsuper.django.application import ow
from owsuper.django.databases import conninfo_of, explicit_settings, project_settings
from owsuper.errors import ConfigurationError


class OwsuperConfig(AppConfig):
    """Imports ``workflows.py`` of all apps, and creates the tables in ``manage.py migrate``."""

    name = "owsuper.django"
    label = "owsuper"
    verbose_name = "owsuper"

    def ready(self) -> None:
        """Import the workflows, once all models are loaded. Raises ConfigurationError."""
        project_settings()  # so that a mistake is found at the start of each process
        ow.remember_database()
        register(_check_database)
        post_migrate.connect(_create_tables, sender=self)
        connection_created.connect(_on_connection)
        autodiscover_modules("workflows")


def _check_database(**_: Any) -> list[CheckMessage]:
    """Report a database that owsuper cannot use, in ``manage.py check``."""
    try:
        explicit_settings()
    except ConfigurationError as error:
        return [Error(str(error), id="owsuper.E001")]
    return []


def _create_tables(*, using: str, verbosity: int = 1, **_: Any) -> None:
    """Create or update the tables of owsuper, unless ``OWSUPER["MIGRATE"]`` is false."""
    chosen = project_settings()
    if using != chosen.alias or not chosen.migrates or not router.allow_migrate(using, "owsuper"):
        return
    with connect.connect(conninfo_of(using), application_name="owsuper migrate") as conn:
        if verbosity >= 1 and migrate.check(conn, chosen.schema):
            print(f"  Creating the tables of owsuper in schema {chosen.schema}")
        migrate.migrate(conn, chosen.schema)


def _on_connection(*, connection: Any, **_: Any) -> None:
    """Close our connections before tests create or drop a database, and follow its name."""
    if connection.alias == NO_DB_ALIAS:
        ow.forget_database()
