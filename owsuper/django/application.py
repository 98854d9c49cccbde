"""The OpenWorkflow of a Django project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from owsuper.client.app import OpenWorkflow
from owsuper.client.database import ClientDatabase, ExplicitSettings
from owsuper.client.worker import Worker, WorkerSettings
from owsuper.django.databases import FreshConnections, explicit_settings, project_settings
from owsuper.errors import ConfigurationError

PROJECT: Final = "owsuper.django.project"
"""The module that a worker imports: all workflows of the project."""


class ProjectWorkflows(OpenWorkflow):
    """An OpenWorkflow with the settings of the Django project, which are read at the first use."""

    def __init__(self) -> None:
        super().__init__()
        self._database = ClientDatabase(explicit_settings)
        self._name_in_settings: str | None = None
        self.around_steps(FreshConnections)

    @property
    def explicit(self) -> ExplicitSettings:
        """What ``settings.OWSUPER`` says. Raises ConfigurationError."""
        return explicit_settings()

    def new_worker(
        self,
        *,
        processes: int | None = None,
        concurrency: int | None = None,
        modules: Sequence[str] | None = None,
        **settings: Any,
    ) -> Worker:
        """Return a worker for all workflows of the project, see :meth:`OpenWorkflow.new_worker`.

        ``settings.OWSUPER`` has the options that are not given. Raises ConfigurationError in tests,
        whose database is unknown to other processes.
        """
        self._check_database()
        options = {"processes", "concurrency", *WorkerSettings.__annotations__}
        values = project_settings().values
        given = {name: value for name, value in values.items() if name in options}
        given |= {"processes": processes or given.get("processes")}
        given |= {"concurrency": concurrency or given.get("concurrency")}
        return super().new_worker(
            modules=[PROJECT] if modules is None else [PROJECT, *modules], **{**given, **settings}
        )

    def remember_database(self) -> None:
        """Note the name of the database before tests change it."""
        self._name_in_settings = _name_now()

    def _check_database(self) -> None:
        now = _name_now()
        if now != self._name_in_settings:
            raise ConfigurationError(
                f"new_worker: a process of its own would use the database"
                f" {self._name_in_settings!r} of the settings, and not {now!r}, which the tests"
                " use. Use owsuper.django.test.WorkerTestCase, or owsuper.ThreadWorker(ow)."
            )

    def forget_database(self) -> None:
        """Close all connections, because the database may be another one, or be dropped."""
        self._database.forget_settings()


def _name_now() -> str | None:
    from django.db import connections

    alias = project_settings().alias
    if alias is None or alias not in connections:
        return None
    name = connections[alias].settings_dict["NAME"]
    return None if name is None else str(name)


ow: Final = ProjectWorkflows()
