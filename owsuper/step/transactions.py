"""``transaction`` of Step and AsyncStep: the type of what the function gets is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, TypeVarTuple, Unpack, overload

from owsuper.core.durations import Duration
from owsuper.step.engines import AsyncEngine, SyncEngine
from owsuper.step.own_run import OwnRun
from owsuper.step.requests import TransactionCall

if TYPE_CHECKING:
    from owsuper.core.limits import Rate
    from owsuper.core.retry import RetryPolicy
    from owsuper.db.transactions.own import OwnAsyncConnection, OwnConnection

T = TypeVar("T")
S = TypeVar("S")
Ts = TypeVarTuple("Ts")


class StepOptions(TypedDict, total=False):
    """Options of a step that calls a function; see :meth:`Step.run`."""

    retry: RetryPolicy | None
    timeout: Duration | None
    type: Any
    formerly: str | None
    undo: Callable[[Any], object] | None
    limit: Rate | None


class SyncTransactions(OwnRun[SyncEngine]):
    """Steps of ``def`` workflows that share a transaction with what their function writes."""

    __slots__ = ()

    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[OwnAsyncConnection, *Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        session: None = None,
        using: None = None,
        **options: Unpack[StepOptions],
    ) -> T: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[OwnConnection, *Ts], T],
        *args: *Ts,
        session: None = None,
        using: None = None,
        **options: Unpack[StepOptions],
    ) -> T: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[S, *Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        session: Callable[[], AbstractAsyncContextManager[S, Any] | AsyncIterator[S]],
        **options: Unpack[StepOptions],
    ) -> T: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[S, *Ts], T],
        *args: *Ts,
        session: Callable[[], AbstractContextManager[S, Any] | Iterator[S]],
        **options: Unpack[StepOptions],
    ) -> T: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[Any, *Ts], T],
        *args: *Ts,
        using: str,
        **options: Unpack[StepOptions],
    ) -> T: ...
    def transaction(
        self,
        name: str,
        fn: Callable[[Any, *Ts], Any],
        *args: *Ts,
        session: Callable[[], Any] | None = None,
        using: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[Any], object] | None = None,
        limit: Rate | None = None,
    ) -> Any:
        """Call ``fn(connection, *args)`` in a transaction that also stores the result of the step.

        Both are committed, or neither: what ``fn`` writes is there exactly once, whatever is killed
        or lost. ``fn`` gets a psycopg Connection to the worker's database (an AsyncConnection if it
        is ``async def``), a session that ``session`` makes (a ``sessionmaker`` of SQLAlchemy, or an
        ``async_sessionmaker``), or Django's connection with the alias ``using``. It must not commit
        or roll back. It may be called again if its transaction was rolled back, so it should do
        nothing else that lasts. All else is as in :meth:`run`; ``undo`` gets no connection.

        Raises as :meth:`run` does, and StepUsageError for a database that is not the worker's.
        """
        return self._engine.call(
            TransactionCall(
                name, fn, args, retry, type, formerly, timeout, undo, limit, session, using
            )
        )


class AsyncTransactions(OwnRun[AsyncEngine]):
    """Steps of ``async def`` workflows that share a transaction with what their function writes."""

    __slots__ = ()

    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[OwnAsyncConnection, *Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        session: None = None,
        using: None = None,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[OwnConnection, *Ts], T],
        *args: *Ts,
        session: None = None,
        using: None = None,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[S, *Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        session: Callable[[], AbstractAsyncContextManager[S, Any] | AsyncIterator[S]],
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[S, *Ts], T],
        *args: *Ts,
        session: Callable[[], AbstractContextManager[S, Any] | Iterator[S]],
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[[Any, *Ts], T],
        *args: *Ts,
        using: str,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, T]: ...
    def transaction(
        self,
        name: str,
        fn: Callable[[Any, *Ts], Any],
        *args: *Ts,
        session: Callable[[], Any] | None = None,
        using: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[Any], object] | None = None,
        limit: Rate | None = None,
    ) -> Any:
        """Awaitable :meth:`Step.transaction`.

        A function that is not ``async def`` is called in a thread, and gets what is not async.
        """
        return self._engine.call(
            TransactionCall(
                name, fn, args, retry, type, formerly, timeout, undo, limit, session, using
            )
        )
