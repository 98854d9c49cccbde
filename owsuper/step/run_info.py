"""The properties of step objects, about the run of the workflow."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.core.model import ClaimedRun


class RunInfo:
    """The base of step objects: the properties of the workflow's own run."""

    __slots__ = ("_run",)

    def __init__(self, run: ClaimedRun) -> None:
        self._run = run

    @property
    def run_id(self) -> str:
        """The id of this run."""
        return self._run.run_id

    @property
    def workflow_name(self) -> str:
        """The name of this workflow."""
        return self._run.workflow_name

    @property
    def version(self) -> str | None:
        """The version of this run; None without a version.

        It was started with this one, or this one has taken it over (``compatible_with``).
        """
        return self._run.version

    @property
    def created_at(self) -> datetime:
        """When this run was created, by the database's clock. Aware, in UTC."""
        return self._run.created_at

    @property
    def started_at(self) -> datetime:
        """When this run was first claimed since its start or its last retry.

        By the database's clock. Aware, in UTC.
        """
        return self._run.started_at

    @property
    def logger(self) -> logging.Logger:
        """The logger with the name of this workflow, for the workflow function and its steps.

        What any logger logs in a run says which run, step and attempt it was: there is nothing
        special about this one. See docs/logging.md.
        """
        return logging.getLogger(self._run.workflow_name)
