"""Says why a run that waits for a limit, or whose steps do, is not running."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from owsuper.client.reasons import Reason, ReasonKind

if TYPE_CHECKING:
    from psycopg import Connection

    from owsuper.client.models import Run
    from owsuper.db.limit_reads import LimitWait, TurnWait

# A run that waits for a limit has this due time, which not even the latest clocks reach.
_NOT_DUE: Final = datetime(9999, 1, 1, tzinfo=UTC)

_MOST_STEPS: Final = 100  # of a run, in one answer


def may_wait(run: Run) -> bool:
    """Return whether the run may wait for a limit."""
    return (
        run.worker_id is None
        and not run.status.is_terminal
        and run.available_at is not None
        and run.available_at >= _NOT_DUE
    )


def read(conn: Connection[Any], schema: str, namespace: str, run: Run) -> LimitWait | None:
    """Return the limit for which the run waits, if there is one."""
    if not may_wait(run):
        return None
    from owsuper.db.limit_reads import LimitReads  # few programs need it

    return LimitReads(schema, namespace).of_run(run.id).run(conn)


def read_turns(conn: Connection[Any], schema: str, namespace: str, run: Run) -> list[TurnWait]:
    """Return the limits for which steps of the run wait, at most 100 of them."""
    if run.worker_id is not None or run.status.is_terminal or may_wait(run):
        return []
    from owsuper.db.limit_reads import LimitReads  # few programs need it

    return LimitReads(schema, namespace).turns_of_run(run.id, _MOST_STEPS).run(conn)


def reason_of_step(wait: TurnWait) -> Reason:
    """Return the reason about a step that waits for its turn."""
    key = f" of {wait.key!r:.80}" if wait.key else ""
    return Reason(
        kind=ReasonKind.LIMIT,
        message=f'its step "{wait.step_name}" waits for the limit "{wait.limit}"{key}, at most'
        f" {wait.amount} in {wait.period:g} s, until {wait.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}",
        since=wait.since,
        until=wait.at,
        step_name=wait.step_name,
    )


def reason(wait: LimitWait, at: datetime) -> Reason:
    """Return the reason about a run that waits for a limit at the time ``at``."""
    key = f" of {wait.key!r:.80}" if wait.key else ""
    which = f'it waits for the limit "{wait.limit}"{key}'
    ahead = {0: "no run is", 1: "1 run is"}.get(wait.ahead, f"{wait.ahead} runs are")
    first = f"{ahead} before it"
    if wait.kind == "rate":
        until = wait.next_at if wait.next_at is not None and wait.next_at > at else None
        when = "" if until is None else f", and the next may begin at {until:%H:%M:%SZ}"
        per = f"{wait.amount} in {wait.period:g} s"
        return Reason(
            kind=ReasonKind.LIMIT,
            message=f"{which}, at most {per}: {first}{when}",
            since=wait.due,
            until=until if wait.ahead == 0 else None,
        )
    places = f"{wait.held} of {wait.amount} {'places are' if wait.amount > 1 else 'place is'} taken"
    return Reason(kind=ReasonKind.LIMIT, message=f"{which}: {places}, {first}", since=wait.due)
