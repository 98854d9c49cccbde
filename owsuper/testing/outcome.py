"""What a test learns of a run that was executed in its process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.errors import RunCanceled, RunFailed
from owsuper.stored_error import StoredError

O = TypeVar("O", covariant=True)  # noqa: E741 - as in Workflow[I, O]


@dataclass(frozen=True, slots=True)
class InProcessStep:
    """A step of a run: its last attempt, and how many there were.

    ``output`` is what was stored. ``error`` is that of the last attempt that failed, if any.
    """

    name: str
    kind: StepKind
    status: StepStatus
    attempts: int
    output: Any
    error: StoredError | None


@dataclass(frozen=True, slots=True)
class InProcessRun(Generic[O]):
    """A run as it was when the test read it.

    ``steps`` has the steps by name, in the order in which they began; a name that was used more
    than once goes on with ``name:1``. ``slept`` is the time that the run spent in sleeps.
    ``claims`` counts the times that a worker took the run: it is replayed each time.
    ``continued_from`` and ``continued_as`` are the ids of the runs before and after it in a chain.
    """

    id: str
    workflow_name: str
    status: RunStatus
    steps: dict[str, InProcessStep]
    slept: timedelta
    claims: int
    error: StoredError | None
    output: O | None
    continued_from: str | None = None
    continued_as: str | None = None

    @property
    def result(self) -> O:
        """The result. Raises RunFailed and RunCanceled, as ``RunHandle.result`` does.

        Raises AssertionError if the run has not ended.
        """
        if self.status == RunStatus.FAILED:
            assert self.error is not None
            name = f"{self.error.name}: " if self.error.name else ""
            raise RunFailed(
                f"Workflow {self.workflow_name} failed: {name}{self.error.message}",
                run_id=self.id,
                error=self.error,
            )
        if self.status == RunStatus.CANCELED:
            raise RunCanceled(f"Workflow {self.workflow_name} was canceled", run_id=self.id)
        if not self.status.is_terminal:
            raise AssertionError(f"the run of {self.workflow_name} has not ended")
        output: Any = self.output
        return output  # type: ignore[no-any-return]
