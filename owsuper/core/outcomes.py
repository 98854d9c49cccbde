"""How an execution of a run ends: what follows from waits, or from the end of its function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from owsuper.core.decisions import Raised, Returned, Wait
from owsuper.core.model import Complete, Fail, Outcome, Park, Retry
from owsuper.core.retry import WORKFLOW_DEFAULT, RetryAt, RetryPolicy, decide


def outcome_of_waits(waits: Sequence[Wait]) -> Outcome:
    """Return the outcome of a run whose branches all wait: park or retry until one is due."""
    earliest = min(waits, key=lambda wait: wait.until)
    only_retries = all(wait.error is not None for wait in waits)
    if only_retries and earliest.error is not None:
        return Retry(earliest.until, earliest.error, counts=False)
    return Park(
        earliest.until,
        awaits=tuple(wait.awaits for wait in waits if wait.awaits),
        signals=tuple(wait.awaits for wait in waits if wait.awaits and wait.for_signal),
    )


@dataclass(frozen=True, slots=True)
class RunRetries:
    """How a run is retried whose workflow function raises.

    ``failures`` counts the earlier failures of the function itself, not of its steps. ``run_id``
    seeds the jitter.
    """

    policy: RetryPolicy = WORKFLOW_DEFAULT
    failures: int = 0
    deadline: datetime | None = None
    run_id: str = ""

    def outcome_of(self, end: Returned | Raised, now: datetime) -> Outcome:
        """Return the outcome of a run whose workflow function returned or raised."""
        if isinstance(end, Returned):
            return Complete(end.output_json)
        error = replace(end.error, final=False, retry_at=None)  # these are about steps, not runs
        # WORKFLOW_DEFAULT allows one attempt: a final error is not retried.
        policy = WORKFLOW_DEFAULT if end.final else self.policy
        failures = self.failures + 1
        seed = f"{self.run_id}:{failures}"
        decision = decide(policy, failures, self.deadline, now, error, seed)
        if isinstance(decision, RetryAt):
            return Retry(decision.at, error, counts=True)
        return Fail(decision.error, error.no_retry_reason)
