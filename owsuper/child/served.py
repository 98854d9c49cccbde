"""What a worker serves of the application that it has loaded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from owsuper.child.loader import Application, LoadError
from owsuper.core import selection
from owsuper.ipc.messages import SELECTION, ApplicationLoaded
from owsuper.settings import Settings
from owsuper.workflow.limit_definitions import describe_limits


def describe(
    application: Application, settings: Settings, *, warnings: Sequence[str] = ()
) -> ApplicationLoaded:
    """Return what the supervisor must know of the application."""
    registry = application.registry
    found = selection.select(registry.names(), only=settings.only, except_=settings.except_)
    names = {name for name, _ in found.served}
    return ApplicationLoaded(
        workflows=found.served,
        database_url=application.database_url,
        namespace=application.namespace,
        schema=application.schema,
        warnings=tuple(warnings),
        mismatches=found.mismatches,
        concurrency={
            name: bound for name, bound in registry.concurrency().items() if name in names
        },
        schedules=application.schedules(),
        limits=describe_limits(registry),
        loaded_at=time.time(),
    )


def check(application: Application, settings: Settings) -> None:
    """Raise LoadError if the settings leave nothing to serve."""
    registered = application.registry.names()
    only, except_ = settings.only, settings.except_
    if not selection.select(registered, only=only, except_=except_).served:
        message = selection.nothing_left(only, except_, registered)
        raise LoadError(SELECTION, message)
