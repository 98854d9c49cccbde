"""Steps whose function shares its transaction with the write of its result.

Both are committed, or neither. The write is behind the fence of the claim, so a process that has
lost its lease commits nothing. A commit whose answer is lost is in doubt: then the step's attempt
is read, once that transaction is over.

The function may be called again after a rollback that it did not cause: when the database was lost
before the commit, or when the run was locked by others.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from owsuper.child.database import Unavailable, is_outage
from owsuper.child.execution.drive import Operations, drive, drive_async
from owsuper.child.execution.transaction_sources import OwnConnection, TransactionSource
from owsuper.child.hard_stops import TimedCall
from owsuper.child.services import Services
from owsuper.core.model import ClaimedRun, StepWrite, WriteSet
from owsuper.core.steps.effects import CallError, CallResult, ClaimOver, Stored, Transact
from owsuper.core.unwind import Unwind
from owsuper.db.known_connections import read_identity
from owsuper.db.transactions.transaction import sqlstate
from owsuper.errors import ConfigurationError, StepUsageError
from owsuper.stored_error import EngineError

_FIRST_PAUSE: Final = 0.05  # seconds between attempts; doubles up to the longest
_LONGEST_PAUSE: Final = 1.0
_LOSSES: Final = 3  # connections lost in a row, each after the function has returned
_CONFLICTS: Final = ("40001", "40P01", "55P03")  # SQLSTATEs: serialization, deadlock, lock time-out
_SERIALIZATION: Final = "40001"
_MOST_CONFLICTS: Final = 5  # serialization failures of one attempt: a long function may meet many
_NO_SERVICE: Final = ("08", "53", "57P")  # SQLSTATEs: no connection, no resources, shutting down
_LOST: Final = ("OperationalError", "InterfaceError", "OSError")  # of any library, without SQLSTATE
_HINTS: Final = {
    "25P02": "The function of the step has caught the error of a statement, which has failed the"
    " whole transaction. Put the statement into a savepoint: `with connection.transaction():`,"
    " `with session.begin_nested():` or `with transaction.atomic():`.",
    _SERIALIZATION: "The run was written to while the transaction was open, as each renewal of its"
    " lease does. Use the isolation level READ COMMITTED for the transaction, or keep it short.",
    "42501": "The result of the step is stored with the rights of the same transaction. If the"
    " function has taken another role, let it end with RESET ROLE.",
}
"""What helps, by SQLSTATE."""


class _Again(Exception):
    """The transaction was rolled back, for a reason that may pass: ``cause``."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class _RollBack(Exception):
    """Ends a transaction."""


Answer: TypeAlias = Stored | CallResult | CallError | ClaimOver


class StepTransaction:
    """One call of a step's function, and its transaction. ``run`` and ``arun`` return the Answer.

    Both raise Unavailable once the database is closing.
    """

    def __init__(
        self,
        run: ClaimedRun,
        services: Services,
        effect: Transact,
        limit: TimedCall | None,
        with_attributes: Callable[[StepWrite], StepWrite],
    ) -> None:
        self._run = run
        self._services = services
        self._call = effect.call
        self._complete = effect.complete
        self._source: TransactionSource = effect.source
        self._limit = limit
        self._with_attributes = with_attributes
        self._losses = 0
        self._conflicts = 0

    def run(self) -> Answer:
        """Do it in this thread."""
        database = self._services.database
        pause = _FIRST_PAUSE
        while True:
            manager = self._source.open(database)

            def roll_back(exc: BaseException, manager: Any = manager) -> None:
                with suppress(Exception):  # the server does so when the connection is lost
                    manager.__exit__(type(exc), exc, exc.__traceback__)

            way = _Way(
                enter=manager.__enter__,
                commit=partial(manager.__exit__, None, None, None),
                roll_back=roll_back,
                call=self._call_function,
                elsewhere=lambda work: work(),
            )
            try:
                return drive(self._attempt(way))
            except _Again as again:
                database.log_unreachable(again.cause)
                if database.closing.wait(pause):
                    raise Unavailable(again.cause) from again.cause
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def arun(self) -> Answer:
        """Do it in this task."""
        database = self._services.database
        pause = _FIRST_PAUSE
        while True:
            manager = self._source.aopen(database)

            async def roll_back(exc: BaseException, manager: Any = manager) -> None:
                with suppress(Exception):
                    await manager.__aexit__(type(exc), exc, exc.__traceback__)

            way = _Way(
                enter=manager.__aenter__,
                commit=partial(manager.__aexit__, None, None, None),
                roll_back=roll_back,
                call=self._acall_function,
                elsewhere=self._in_thread,
            )
            try:
                return await drive_async(self._attempt(way))
            except _Again as again:
                database.log_unreachable(again.cause)
                await asyncio.sleep(pause)
                if database.closing.is_set():
                    raise Unavailable(again.cause) from again.cause
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _call_function(self, handle: Any) -> Any:
        function = partial(self._call.function, handle)
        value = function() if self._limit is None else self._limit.call(function)
        if inspect.isawaitable(value):
            raise StepUsageError(
                f"Step {self._call.key!r}: the function returned an awaitable. In a transaction, it"
                " must be written with async def, or await what it uses."
            )
        return value

    async def _acall_function(self, handle: Any) -> Any:
        value = self._call.function(handle)
        return await (value if self._limit is None else self._limit.await_in_time(value))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self._services.write_threads.submit(work))

    # --- one attempt -------------------------------------------------------------------------

    def _attempt(self, way: _Way) -> Operations[Answer]:
        try:
            handle, transaction = yield way.enter
        except Unavailable as exc:
            raise _Again(exc) from exc
        except ConfigurationError as exc:
            reason = str(exc).removeprefix("connection: ")
            return CallError(StepUsageError(f"Step {self._call.key!r}: {reason}"))
        except Exception as exc:
            if isinstance(self._source, OwnConnection) and is_outage(exc):
                raise _Again(exc) from exc
            return CallError(exc)
        try:
            if not isinstance(self._source, OwnConnection):
                yield from self._check_database(way, transaction)
            value = yield partial(way.call, handle)
            if not (yield transaction.finish):
                raise StepUsageError(
                    f"Step {self._call.key!r}: its function has ended the transaction, by a commit"
                    " or a rollback, so its result cannot be stored with what it wrote. Let owsuper"
                    " commit, or use step.run."
                )
        except BaseException as exc:
            yield partial(way.roll_back, exc)
            if isinstance(exc, (Unwind, EngineError, asyncio.CancelledError, GeneratorExit)):
                raise
            return CallError(exc)
        try:
            write, output = self._complete(value)
            write = self._with_attributes(write)
        except BaseException as exc:
            yield partial(way.roll_back, exc)
            if isinstance(exc, MemoryError):
                raise
            return CallResult(value)
        return (yield from self._store(way, transaction, write, output))

    def _store(
        self, way: _Way, transaction: Any, write: StepWrite, output: Any
    ) -> Operations[Answer]:
        """Store the write, and commit."""
        try:
            statement, params = self._services.store.completion(
                WriteSet(self._run.run_id, self._run.worker_id, (write,))
            )
            held = yield partial(transaction.fetch, statement.text, params)
            if held and write.attributes:
                statement, params = self._services.store.attributes_of(self._run.run_id, write)
                yield partial(transaction.fetch, statement.text, params)
        except BaseException as exc:
            yield partial(way.roll_back, exc)
            if not isinstance(exc, Exception):
                raise
            return self._not_stored(exc)
        if not held:
            yield partial(way.roll_back, _RollBack())
            return (yield from self._not_held(way, write))
        try:
            yield way.commit
        except Exception as exc:
            if not _is_connection_lost(exc):
                return self._not_stored(exc)
            return (yield from self._look(way, exc, write, output))
        return Stored(write, output)

    def _not_stored(self, exc: Exception) -> Answer:
        """Return the answer after an error by which the transaction is rolled back."""
        state = sqlstate(exc)
        self._conflicts += state == _SERIALIZATION
        if state in _CONFLICTS and self._conflicts < _MOST_CONFLICTS:
            raise _Again(exc) from exc
        if _is_connection_lost(exc):
            return self._in_vain(exc)
        if state in _HINTS:
            exc.add_note(_HINTS[state])
        return CallError(exc)

    def _in_vain(self, exc: Exception) -> Answer:
        self._losses += 1
        if self._losses == _LOSSES:  # perhaps the function closes the connection
            return CallError(exc)
        raise _Again(exc) from exc

    def _look(self, way: _Way, exc: Exception, write: StepWrite, output: Any) -> Operations[Answer]:
        """Return the answer to a commit that may have taken place."""
        stored = yield from self._has_stored(way, write)
        if stored is None:
            return ClaimOver()
        return Stored(write, output) if stored else self._in_vain(exc)

    def _not_held(self, way: _Way, write: StepWrite) -> Operations[Answer]:
        """Return the answer to a transaction that did not see the claim of this process."""
        if (yield from self._has_stored(way, write)) is None:
            return ClaimOver()
        return CallError(
            StepUsageError(
                f"Step {self._call.key!r}: its function has ended or changed its own run, so its"
                " result cannot be stored, and all that it wrote is rolled back. Cancel the run"
                " of the step without connection=, or in a step of step.run."
            )
        )

    def _has_stored(self, way: _Way, write: StepWrite) -> Operations[bool | None]:
        """Return as ``RunStore.has_stored``, on another connection."""
        store, database = self._services.store, self._services.database
        run_id, worker_id, attempt_id = self._run.run_id, self._run.worker_id, write.attempt_id
        stored: bool | None = yield partial(
            way.elsewhere,
            lambda: database.run_with_retries(
                lambda conn: store.has_stored(conn, run_id, worker_id, attempt_id)
            ),
        )
        return stored

    def _check_database(self, way: _Way, transaction: Any) -> Operations[None]:
        """Raise StepUsageError if the user's connection leads to another database."""
        known = self._services.database.known_connections
        if transaction.identity in known:
            return
        here = read_identity((yield partial(transaction.fetch, known.query.text, ())))
        if here.identity != known.database:
            known.database = yield partial(
                way.elsewhere,
                lambda: self._services.database.run_with_retries(known.read_own),
            )
        if here.identity != known.database:
            raise StepUsageError(
                f"Step {self._call.key!r}: its transaction is one of the database {here.name!r},"
                " which is not that of the worker, so the result cannot be stored with it"
            )
        known.add(transaction.identity)


@dataclass(frozen=True, slots=True)
class _Way:
    """How to do a thing: in a thread, where these block, or on a loop, where they are awaitable."""

    enter: Callable[[], Any]
    commit: Callable[[], Any]
    roll_back: Callable[[BaseException], Any]
    call: Callable[[Any], Any]
    elsewhere: Callable[[Callable[[], Any]], Any]


def _is_connection_lost(exc: Exception) -> bool:
    """Whether an error says that the connection is lost, and nothing of the statement."""
    state = sqlstate(exc)
    if state is not None:
        return state.startswith(_NO_SERVICE)
    return any(cls.__name__ in _LOST for cls in type(exc).__mro__)
