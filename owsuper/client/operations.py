"""Client work that takes several database operations, or a second look at an error.

Such work is a generator. It yields operations, gets their results or errors, and may return a
value. :func:`run` and :func:`arun` drive it: all that differs between sync and async is here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from psycopg import AsyncConnection, Connection

from owsuper.client.session import Session
from owsuper.core.model import RunStatus
from owsuper.db.clients import ClientQueries, Operation
from owsuper.errors import RunNotCancelable, RunNotRetryable

T = TypeVar("T")


class Executable(Protocol):
    """What the generators yield: an operation, or something that executes one."""

    def run(self, conn: Connection[Any]) -> Any:
        """Execute on this connection; return the result."""
        ...

    async def arun(self, conn: AsyncConnection[Any]) -> Any:
        """Awaitable ``run``."""
        ...


Work: TypeAlias = Generator[Executable, Any, T]

_RETRIED: Final = frozenset({RunStatus.PENDING, RunStatus.RUNNING})


def run(session: Session, work: Work[T]) -> T:
    """Execute ``work``; return what it returns. Raises as the work and ``Session.run`` do."""
    try:
        operation = next(work)
        while True:
            try:
                result = session.run(operation.run)
            except Exception as error:
                operation = work.throw(error)
            else:
                operation = work.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


async def arun(session: Session, work: Work[T]) -> T:
    """Awaitable ``run``."""
    try:
        operation = next(work)
        while True:
            try:
                result = await session.arun(operation.arun)
            except Exception as error:
                operation = work.throw(error)
            else:
                operation = work.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


def cancel(queries: ClientQueries, run_id: str, *, children: bool) -> Work[None]:
    """Cancel a run and, with ``children``, its open child runs and their open child runs.

    The run is canceled first, because a canceled run starts no more child runs.
    Raises RunNotFound, RunNotCancelable.
    """
    yield queries.cancel(run_id)
    parents = [run_id] if children else []
    while parents:
        parents = yield queries.open_children(parents)
        for child_run_id in parents:
            with suppress(RunNotCancelable):  # the child run has ended in the meantime
                yield queries.cancel(child_run_id)


def retry(queries: ClientQueries, run_id: str) -> Work[None]:
    """Put a failed run back. Raises RunNotFound, RunNotRetryable.

    If a connection breaks before the answer arrives, the session sends the statement again. The
    second statement may then find the run put back by the first one, which is no error of the
    caller. If the run has even ended again, the caller gets the error.
    """
    operation = _Counted(queries.retry(run_id))
    try:
        yield operation
    except RunNotRetryable as refused:
        if operation.sent == 1 or refused.status not in _RETRIED:
            raise


@dataclass(slots=True)
class _Counted:
    """An operation that counts how often the session sends it."""

    operation: Operation[Any]
    sent: int = 0

    def run(self, conn: Connection[Any]) -> Any:
        self.sent += 1
        return self.operation.run(conn)

    async def arun(self, conn: AsyncConnection[Any]) -> Any:
        self.sent += 1
        return await self.operation.arun(conn)
