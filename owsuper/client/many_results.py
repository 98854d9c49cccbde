"""Waiting for many runs at once, with the thread and the connection that all waits share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent import futures
from functools import partial
from typing import Any, TypeVar

from owsuper.client import results
from owsuper.client.handle import RunHandle
from owsuper.client.result_waiter import ProgressFuture
from owsuper.core.durations import Duration
from owsuper.errors import ConfigurationError, OwsuperError

O = TypeVar("O")  # noqa: E741 - as in RunHandle[O]


class AwaitsRuns:
    """The methods of OpenWorkflow that wait for many runs."""

    def wait_all(
        self,
        handles: Iterable[RunHandle[O]],
        *,
        timeout: Duration | None = None,
        return_errors: bool = False,
    ) -> list[O]:
        """Wait until all of these runs have ended, and return their results in order.

        When all have ended, the error of the first that has no result is raised, as
        :meth:`RunHandle.result` raises it. With ``return_errors``, each error stands in the list in
        the place of the result instead. Thousands of runs share one thread, one connection and a
        few statements. ``timeout`` is that of all together.

        Raises ResultTimeout with the id of a run that has not ended, ConfigurationError for what is
        no handle, and InvalidDuration.
        """
        listed, limit = _checked(handles), results.limit(timeout)
        awaited: list[ProgressFuture] = []
        try:
            awaited.extend(_future_of(handle) for handle in listed)
            waiting = futures.wait(awaited, limit).not_done
            _check_ended(listed, awaited, waiting)
            return [
                _value(handle, future, return_errors=return_errors)
                for handle, future in zip(listed, awaited, strict=True)
            ]
        finally:
            _cancel(awaited)

    async def await_all(
        self,
        handles: Iterable[RunHandle[O]],
        *,
        timeout: Duration | None = None,
        return_errors: bool = False,
    ) -> list[O]:
        """Awaitable :meth:`wait_all`."""
        listed, limit = _checked(handles), results.limit(timeout)
        awaited: list[ProgressFuture] = []
        try:
            await _await_futures_of(listed, awaited)
            ends = [asyncio.wrap_future(each) for each in awaited]
            for each in ends:
                each.add_done_callback(_see)
            if ends:
                await asyncio.wait(ends, timeout=limit)
            waiting = {future for future in awaited if not future.done()}
            _check_ended(listed, awaited, waiting)
            return [
                _value(handle, future, return_errors=return_errors)
                for handle, future in zip(listed, awaited, strict=True)
            ]
        finally:
            _cancel(awaited)

    def as_completed(
        self, handles: Iterable[RunHandle[O]], *, timeout: Duration | None = None
    ) -> Iterator[RunHandle[O]]:
        """Yield each of these handles when its run has ended, however it ended.

        ``result()`` of the handle then returns or raises at once. Runs that have ended before come
        first. Raises as :meth:`wait_all` does, ResultTimeout where the next handle would come.
        """
        listed, limit = _checked(handles), results.limit(timeout)
        return _completed(listed, limit)

    async def aas_completed(
        self, handles: Iterable[RunHandle[O]], *, timeout: Duration | None = None
    ) -> AsyncIterator[RunHandle[O]]:
        """Async iterator as that of :meth:`as_completed`."""
        listed, limit = _checked(handles), results.limit(timeout)
        give_up = None if limit is None else time.monotonic() + limit
        ended: asyncio.Queue[int] = asyncio.Queue()
        awaited: list[ProgressFuture] = []
        try:
            await _await_futures_of(listed, awaited)
            left = set(range(len(listed)))
            for number, future in enumerate(awaited):
                asyncio.wrap_future(future).add_done_callback(partial(_note, ended, number))
            while left:
                pause = None if give_up is None else max(0.0, give_up - time.monotonic())
                try:
                    number = await asyncio.wait_for(ended.get(), pause)
                except TimeoutError:
                    raise results.timed_out(listed[min(left)].id) from None
                left.remove(number)
                yield listed[number]
        finally:
            _cancel(awaited)


def _completed(listed: Sequence[RunHandle[O]], limit: float | None) -> Iterator[RunHandle[O]]:
    awaited: dict[ProgressFuture, RunHandle[O]] = {}
    left: dict[ProgressFuture, None] = {}
    try:
        awaited.update((_future_of(handle), handle) for handle in listed)
        left.update(dict.fromkeys(awaited))
        for future in futures.as_completed(awaited, limit):
            del left[future]
            yield awaited[future]
    except TimeoutError:
        raise results.timed_out(awaited[next(iter(left))].id) from None
    finally:
        _cancel(awaited)


def _see(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()  # else asyncio logs it, although the caller gets it in another way


def _note(ended: asyncio.Queue[int], number: int, done: asyncio.Future[Any]) -> None:
    _see(done)
    if not done.cancelled():
        ended.put_nowait(number)


def _checked(handles: Iterable[RunHandle[O]]) -> list[RunHandle[O]]:
    listed = list(handles)
    for each in listed:
        if not isinstance(each, RunHandle):
            raise ConfigurationError(f"handles: {each!r:.80} is no RunHandle")
    return listed


def _future_of(handle: RunHandle[Any]) -> ProgressFuture:
    return handle._database.session().waiter.future_of(handle.id)


async def _await_futures_of(
    handles: Sequence[RunHandle[Any]], awaited: list[ProgressFuture]
) -> None:
    """Append the futures to ``awaited``. The caller cancels them, also if this raises."""
    for each in handles:
        session = await each._database.asession()
        awaited.append(session.waiter.future_of(each.id))


def _check_ended(
    handles: Sequence[RunHandle[Any]],
    awaited: Sequence[ProgressFuture],
    waiting: set[ProgressFuture],
) -> None:
    for handle, future in zip(handles, awaited, strict=True):
        if future in waiting:
            raise results.timed_out(handle.id)


def _value(handle: RunHandle[Any], future: ProgressFuture, *, return_errors: bool) -> Any:
    try:
        return handle._value(future.result())
    except OwsuperError as error:
        if return_errors:
            return error
        raise


def _cancel(awaited: Iterable[ProgressFuture]) -> None:
    for future in awaited:
        future.cancel()
