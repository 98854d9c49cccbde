"""What a workflow may know about its own run."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.core.model import ClaimedRun


class RunInfo:
    """The part of a step object that asks for no step."""

    __slots__ = ("_run",)

    def __init__(self, run: ClaimedRun) -> None:
        self._run = run

    @property
    def run_id(self) -> str:
        """The id of this run."""
        return self._run.run_id

    @property
    def workflow_name(self) -> str:
        return self._run.workflow_name

    @property
    def version(self) -> str | None:
        """The version that this run was started with."""
        return self._run.version

    @property
    def created_at(self) -> datetime:
        """When the run was created, by the database's clock."""
        return self._run.created_at

    @property
    def started_at(self) -> datetime:
        """When the run was first claimed since its last retry, by the database's clock."""
        return self._run.started_at
