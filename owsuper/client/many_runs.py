"""Canceling and retrying many runs: all that match a filter, one after the other, in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypedDict, TypeVar, Unpack

from owsuper.client import listing, operations
from owsuper.client.session import Session
from owsuper.core.attributes import check_attributes
from owsuper.core.durations import Duration
from owsuper.core.model import RunStatus
from owsuper.core.names import check_step_key, check_version, check_workflow_name
from owsuper.core.pages import Position, Window, decode_cursor, encode_cursor
from owsuper.db.dashboard.run_lists import RunCount, RunLists, RunPage, RunSearch
from owsuper.errors import ConfigurationError, DatabaseError, DatabaseUnreachable, OwsuperError
from owsuper.workflow.definition import Workflow

T = TypeVar("T")

BATCH: Final = 100
"""The most runs of a batch: progress is reported after each."""

OPEN: Final = ("pending", "running")
"""The statuses of runs that can be canceled."""
FAILED: Final = ("failed",)
"""The status of runs that can be retried."""

_PAUSE, _MOST_PAUSES = 1.0, 60  # seconds, while the database is away in the middle of many runs
_KEPT_REASONS: Final = 100
_OLDEST: Final = datetime(2025, 1, 1, tzinfo=UTC)  # no implementation of OpenWorkflow is older
_NOW: Final = timedelta(seconds=5)  # a time so short ago is no bound


class ManyRuns(TypedDict, total=False):
    """Which runs ``cancel_runs`` and ``retry_runs`` change; the filters hold together.

    They are as in :class:`RunFilters`. ``version`` is that of the workflow. Without any but
    ``status``, pass ``all=True``; nor does a ``since`` count that all runs are after, or an
    ``until`` of now.
    """

    status: RunStatus | str | None
    workflow: Workflow[Any, Any] | str | None
    version: str | None
    parent: str | None
    crashed: bool
    since: datetime | Duration | None
    until: datetime | Duration | None
    attributes: Mapping[str, str] | None
    all: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRuns:
    """What has been done so far, or in all.

    ``changed`` runs obeyed, ``refused`` did not, such as runs that had ended in the meantime.
    ``reasons`` are the reasons of the first hundred, by run id. ``cursor`` is where to go on with
    older runs, as ``after``; None if there are none.
    """

    changed: int = 0
    refused: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)
    cursor: str | None = None


OnProgress = Callable[[ChangedRuns], object]


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to many runs, one after the other.

    ``each`` returns the id of the run that obeyed, and raises OwsuperError if the run refuses.
    ``after`` gets the ids of those that obeyed, of each batch. Both may be called again if the
    database was away.
    """

    each: Callable[[Session, str], str]
    after: Callable[[Session, Sequence[str]], None] | None = None


@dataclass(frozen=True, slots=True)
class WorkedOn:
    """The ids of the runs of a batch that obeyed, and of the others with the reasons."""

    obeyed: list[str]
    refusals: list[tuple[str, str]]


def canceling(*, children: bool) -> Work:
    """Return the work of canceling runs, with their open child runs if ``children``."""

    def each(session: Session, run_id: str) -> str:
        return operations.cancel(session, run_id, children=False).run_id

    return Work(each, operations.cancel_children if children else None)


def retrying(from_step: str | None = None) -> Work:
    """Return the work of putting failed runs back, or ended ones to a step.

    Raises ConfigurationError for a name that no step can have.
    """
    check_step_key(from_step, "from_step")

    def each(session: Session, run_id: str) -> str:
        operations.retry(session, run_id, from_step)
        return run_id

    return Work(each)


def do_batch(session: Session, batch: Sequence[str], work: Work) -> WorkedOn:
    """Do the work for each of these runs. Raises DatabaseError, after a minute of an outage.

    An interrupt, or an error of the database such as a locked row, comes through when
    ``work.after`` was done for those that obeyed: a later call does not find them again.
    """
    obeyed: list[str] = []
    refusals: list[tuple[str, str]] = []
    try:
        for run_id in batch:
            try:
                obeyed.append(until_database(partial(work.each, session, run_id)))
            except DatabaseError:
                raise
            except OwsuperError as error:
                refusals.append((run_id, str(error)))
    except DatabaseUnreachable:
        raise
    except (KeyboardInterrupt, SystemExit, DatabaseError):
        _finish(session, obeyed, work)
        raise
    _finish(session, obeyed, work)
    return WorkedOn(obeyed, refusals)


def _finish(session: Session, obeyed: Sequence[str], work: Work) -> None:
    if work.after is not None and obeyed:
        until_database(partial(work.after, session, obeyed))


def until_database(work: Callable[[], T]) -> T:
    """Do the work, again and again while the database is away. Raises DatabaseError in the end."""
    for _ in range(_MOST_PAUSES):
        with suppress(DatabaseUnreachable):
            return work()
        time.sleep(_PAUSE)
    return work()


# --- all that match ------------------------------------------------------------------------------


def search(
    statuses: tuple[str, ...],
    *,
    status: RunStatus | str | None = None,
    workflow: Workflow[Any, Any] | str | None = None,
    version: str | None = None,
    parent: str | None = None,
    crashed: bool = False,
    since: datetime | Duration | None = None,
    until: datetime | Duration | None = None,
    attributes: Mapping[str, str] | None = None,
    all: bool = False,  # noqa: A002 - the word of the callers
) -> RunSearch:
    """Return which runs to change, of those that have one of ``statuses``.

    Raises ConfigurationError for a filter that cannot be used, and for one that lets all match.
    """
    if status is not None and status not in statuses:
        raise ConfigurationError(
            f"status: must be {' or '.join(statuses)}, not {str(status)!r:.60}: no other run obeys"
        )
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    described = check_attributes(attributes)
    found = RunSearch(
        statuses=statuses if status is None else (str(status),),
        workflow=None if name is None else check_workflow_name(name),
        version=check_version(version),
        parent=None if parent is None else listing.check_run_id(parent),
        crashed=bool(crashed),
        created_from=None if since is None else listing.past(since, "since"),
        created_until=None if until is None else listing.past(until, "until"),
        attributes=tuple(described.items()),
    )
    if not (_narrows(found) or all):
        raise ConfigurationError(
            f"all: all {' and '.join(found.statuses)} runs of the namespace match. Pass a filter"
            " such as workflow or since, or all=True (on the command line, --all) if you mean that."
        )
    return found


def _narrows(wanted: RunSearch) -> bool:
    """Whether some open or failed run of a namespace may not match."""
    since, until = wanted.created_from, wanted.created_until
    return bool(
        wanted.workflow is not None
        or wanted.version is not None
        or wanted.parent is not None
        or (since is not None and since > _OLDEST)
        or (until is not None and until < datetime.now(UTC) - _NOW)
        or wanted.crashed
        or wanted.attributes
    )


def change(
    session: Session,
    wanted: RunSearch,
    work: Work,
    *,
    after: str | None = None,
    on_progress: OnProgress | None = None,
) -> ChangedRuns:
    """Do the work for all runs that match. Raises ConfigurationError for a cursor that is none."""
    position = None if after is None else decode_cursor(after, "after")
    so_far = ChangedRuns()
    for page in _pages(session, wanted, position):
        ids = [run.id for run in page.items]
        worked_on = do_batch(session, ids, work)
        so_far = _added(so_far, worked_on, page.next)
        if on_progress is not None and ids:
            on_progress(so_far)
    return so_far


def count(session: Session, wanted: RunSearch) -> RunCount:
    """Return how many runs match now, counted up to a bound."""
    lists = RunLists(session.schema, session.namespace)
    if not wanted.few:
        return session.run(lists.count(wanted).run)
    page = session.run(lists.page(wanted, Window(1)).run)
    return RunCount(page.total or 0, read_all=page.has_all)


def _pages(session: Session, wanted: RunSearch, position: Position | None) -> Iterator[RunPage]:
    lists = RunLists(session.schema, session.namespace)
    while True:
        operation = lists.page(wanted, Window(BATCH, position))
        page = until_database(partial(session.run, operation.run))
        yield page
        if page.next is None:
            return
        position = page.next


def _added(so_far: ChangedRuns, worked_on: WorkedOn, onward: Position | None) -> ChangedRuns:
    reasons = dict(so_far.reasons)
    room = max(0, _KEPT_REASONS - len(reasons))
    reasons.update(worked_on.refusals[:room])
    return ChangedRuns(
        changed=so_far.changed + len(worked_on.obeyed),
        refused=so_far.refused + len(worked_on.refusals),
        reasons=reasons,
        cursor=None if onward is None else encode_cursor(onward),
    )


def cancelable(**filters: Unpack[ManyRuns]) -> RunSearch:
    """Return the search of ``cancel_runs``. Raises ConfigurationError.

    Canceled runs begin runs that undo them. These do not match, or a second call would cancel them.
    """
    return replace(search(OPEN, **filters), undos=False)


def retryable(**filters: Unpack[ManyRuns]) -> RunSearch:
    """Return the search of ``retry_runs``. Raises ConfigurationError."""
    return search(FAILED, **filters)
