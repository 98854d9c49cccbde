"""What a child counts, for ``--metrics-port``. Without that setting nobody imports this module.

The child sends to its supervisor what it has counted, once a second and at its end.
"""

from __future__ import annotations

from owsuper.core.model import StepKind, StepStatus, StepWrite
from owsuper.ipc.messages import Counted
from owsuper.metrics import catalogue
from owsuper.metrics.tally import Tally


class ChildCounts:
    """Counts of one child process. Safe from any thread."""

    def __init__(self) -> None:
        self._tally = Tally()

    def take(self) -> Counted:
        """Return what was counted since the last call."""
        return self._tally.take()

    def on_step(self, workflow: str, write: StepWrite, failures: int) -> None:
        """Count an attempt of a function step that has ended.

        ``failures`` is how many attempts of this step have failed so far, this one included.
        """
        if write.kind != StepKind.FUNCTION or write.finished_at is None:
            return
        labels = workflow, _name_of(write.step_name)
        failed = write.status == StepStatus.FAILED
        outcome = "failed" if failed else "completed"
        seconds = (write.finished_at - write.started_at).total_seconds()
        self._tally.observe(catalogue.STEP_SECONDS, seconds, labels)
        self._tally.count(catalogue.STEP_ATTEMPTS, (*labels, outcome))
        if failures > failed:
            self._tally.count(catalogue.STEP_RETRIES, labels)

    def on_commit(self, size: int) -> None:
        """Count a commit of so many write sets."""
        self._tally.observe(catalogue.COMMIT_SIZES, size)
        self._tally.count(catalogue.ROUND_TRIPS, ("child",))

    def on_call(self) -> None:
        """Count a use of the database apart from these commits."""
        self._tally.count(catalogue.ROUND_TRIPS, ("child",))

    def on_outage(self) -> None:
        """Count that the database cannot be used any more."""
        self._tally.count(catalogue.OUTAGES, ("child",))


def _name_of(key: str) -> str:
    """Return the name of a step from its key: ``charge`` for ``charge:2``, too."""
    name, separator, number = key.rpartition(":")
    return name if separator and name and number.isdecimal() else key
