"""Runs and their step attempts, to read. The tables belong to owsuper, and not to Django."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NoReturn, TypeAlias

from django.db import models

from owsuper.core.model import RunStatus
from owsuper.django.databases import project_settings
from owsuper.django.project_settings import DEFAULT_ALIAS

Moment: TypeAlias = "models.DateTimeField[datetime | None, datetime | None]"
OptionalText: TypeAlias = "models.TextField[str | None, str | None]"

_PROJECT: Final = project_settings()
_READ_ONLY: Final = (
    "the rows of owsuper are read-only; use owsuper.django.ow to change runs, and docs/database.md"
    " says how to delete them"
)


class _Rows(models.QuerySet[Any]):
    """Rows that this program cannot change all at once, either."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(_READ_ONLY)

    bulk_create = bulk_update = update = delete = _refuse


class _InNamespace(models.Manager.from_queryset(_Rows)):  # type: ignore[misc]  # made at run time
    """Reads the namespace of the project from its database."""

    def get_queryset(self) -> models.QuerySet[Any]:
        alias = _PROJECT.alias or DEFAULT_ALIAS
        rows: models.QuerySet[Any] = super().get_queryset().using(alias)
        return rows.filter(namespace_id=_PROJECT.namespace)


class _ReadOnly(models.Model):
    """A row that this program cannot save or delete."""

    objects = _InNamespace()

    class Meta:
        abstract = True

    def save(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: only owsuper writes its tables."""
        raise TypeError(_READ_ONLY)

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: see docs/database.md for how runs are deleted."""
        raise TypeError(_READ_ONLY)


class WorkflowRun(_ReadOnly):
    """A run. ``objects`` has those of the namespace of the project."""

    id: models.TextField[str, str] = models.TextField(primary_key=True)
    namespace_id: models.TextField[str, str] = models.TextField()
    workflow_name: models.TextField[str, str] = models.TextField("workflow")
    version: OptionalText = models.TextField(null=True)
    status: models.TextField[str, str] = models.TextField(
        choices=[(each.value, each.value) for each in RunStatus]
    )
    idempotency_key: OptionalText = models.TextField(null=True)
    input = models.JSONField(null=True)
    output = models.JSONField("result", null=True)
    error = models.JSONField(null=True)
    attempts: models.IntegerField[int, int] = models.IntegerField("executions")
    worker_id: OptionalText = models.TextField("worker", null=True)
    available_at: Moment = models.DateTimeField("due", null=True)
    deadline_at: Moment = models.DateTimeField("deadline", null=True)
    started_at: Moment = models.DateTimeField("started", null=True)
    finished_at: Moment = models.DateTimeField("finished", null=True)
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField("created")

    class Meta(_ReadOnly.Meta):
        managed = False
        db_table = f'"{_PROJECT.schema}"."workflow_runs"'
        default_permissions = ("view",)
        verbose_name = "run"

    def __str__(self) -> str:
        return f"{self.workflow_name} {self.id}"


class WorkflowStep(_ReadOnly):
    """A step attempt. ``objects`` has those of the namespace of the project."""

    id: models.TextField[str, str] = models.TextField(primary_key=True)
    namespace_id: models.TextField[str, str] = models.TextField()
    run: models.ForeignKey[WorkflowRun, WorkflowRun] = models.ForeignKey(
        WorkflowRun,
        models.DO_NOTHING,
        db_column="workflow_run_id",
        db_constraint=False,
        related_name="steps",
    )
    step_name: models.TextField[str, str] = models.TextField("step")
    kind: models.TextField[str, str] = models.TextField()
    status: models.TextField[str, str] = models.TextField()
    output = models.JSONField("result", null=True)
    error = models.JSONField(null=True)
    started_at: Moment = models.DateTimeField("started", null=True)
    finished_at: Moment = models.DateTimeField("finished", null=True)
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField("created")

    class Meta(_ReadOnly.Meta):
        managed = False
        db_table = f'"{_PROJECT.schema}"."step_attempts"'
        default_permissions = ()
        verbose_name = "step attempt"

    def __str__(self) -> str:
        return f"{self.step_name} {self.id}"
