"""Deleting runs that ended long ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from psycopg import Connection, errors

from owsuper.core import retention
from owsuper.core.durations import Duration
from owsuper.core.model import RunStatus
from owsuper.core.names import check_workflow_name
from owsuper.db.clients import Operation, Rows
from owsuper.db.pruning import PruneQueries
from owsuper.retention.passes import Answer, Ask, Keep, Pace, Pruned, prune
from owsuper.workflow.definition import Workflow

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase
    from owsuper.client.session import Session

_PAUSES = 1.0  # a statement, and a pause as long as it

OnDelete = Callable[[Sequence[str]], object]


class Prunes:
    """The method of OpenWorkflow that deletes old runs."""

    _database: ClientDatabase

    def prune_runs(
        self,
        older_than: Duration,
        *,
        status: RunStatus | str | None = None,
        workflow: Workflow[object, object] | str | None = None,
        on_delete: OnDelete | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete the runs of this namespace that ended longer ago than that; return how many.

        ``older_than`` is a timedelta, seconds or text such as ``"30d"``. With ``status`` or
        ``workflow``, only runs with this status (completed, failed or canceled) or of this workflow
        are deleted. A run stays while something still needs it: its parent, its idempotency key,
        or the run as which it continued.

        ``on_delete`` is called with some runs before they are deleted, each as a line of JSON in
        the form of ``owsuper runs export``. If it raises, they are not deleted, and the exception
        is raised here. A run may be passed twice, if deleting it fails. With ``dry_run``, runs are
        counted, and none is deleted.

        Runs are deleted in small batches, with pauses. Raises ConfigurationError for an argument
        that cannot be used, DatabaseUnreachable and MigrationError.
        """
        keep = keep_rule(older_than, status, workflow)
        pruned = Pruned()
        run_pass(self._database.session(), keep, pruned, on_delete=on_delete, dry_run=dry_run)
        return pruned.total

    async def aprune_runs(
        self,
        older_than: Duration,
        *,
        status: RunStatus | str | None = None,
        workflow: Workflow[object, object] | str | None = None,
        on_delete: OnDelete | None = None,
        dry_run: bool = False,
    ) -> int:
        """Awaitable :meth:`prune_runs`; ``on_delete`` is called in another thread."""
        keep = keep_rule(older_than, status, workflow)
        pruned = Pruned()
        session = await self._database.asession()
        await session.acall(
            lambda: run_pass(session, keep, pruned, on_delete=on_delete, dry_run=dry_run)
        )
        return pruned.total


def keep_rule(
    older_than: Duration,
    status: RunStatus | str | None,
    workflow: Workflow[object, object] | str | None,
) -> Keep:
    """Return which runs to keep for how long. Raises ConfigurationError and InvalidDuration."""
    seconds = retention.age(older_than, "older_than")
    only_status = None if status is None else retention.check_status(status)
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    if name is not None:
        check_workflow_name(name)

    def keep(of: str, ended: RunStatus) -> float | None:
        wanted = name in (None, of) and only_status in (None, ended.current)
        return seconds if wanted else None

    return keep


def run_pass(
    session: Session,
    keep: Keep,
    pruned: Pruned,
    *,
    on_delete: OnDelete | None = None,
    dry_run: bool = False,
) -> None:
    """Perform one pass with blocking calls. Raises as ``prune_runs`` does."""
    pace = Pace(_PAUSES)
    queries = PruneQueries(session.schema, session.namespace)
    work = prune(
        queries, keep, pace, pruned, copies=on_delete is not None and not dry_run,
        only_count=dry_run,
    )  # fmt: skip
    answer: Answer = None
    while True:
        try:
            wanted = work.send(answer)
        except StopIteration:
            return
        if isinstance(wanted, Ask):
            began = time.monotonic()
            answer = _ask(session, wanted)
            pace.took(time.monotonic() - began)
            time.sleep(pace.pause)
        elif on_delete is not None:
            on_delete(wanted.lines)
            answer = None


def _ask(session: Session, ask: Ask) -> Answer:
    operation = Operation((ask.call,), _only_column)

    def work(conn: Connection[object]) -> Answer:
        try:
            return operation.run(conn)
        except (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected):
            if ask.of_few:
                return None
            raise

    return session.run(work)


def _only_column(results: list[Rows]) -> list[str]:
    return [str(row[0]) for row in results[0]]
