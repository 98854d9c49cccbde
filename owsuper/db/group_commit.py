"""Writes of the same moment share a statement, a round trip and a flush to disk.

Callers put an item into the queue. One of them commits for all who wait, the leader; when its
own item is committed, it hands over to the next in the queue. No caller waits for others to come:
a single caller commits at once. Callers that await cannot lead, so a thread leads for them.

Items that fail together are tried again one by one, so that each caller learns about its own.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from owsuper.errors import DatabaseUnreachable

T = TypeVar("T")

_BATCH: Final = 64  # items in one statement
_FOREVER: Final = -1.0  # seconds, as ``Lock.acquire`` has it


class Caller(Generic[T]):
    """An item on its way, and its outcome: ``error`` is None for success.

    A blocking caller sleeps on ``wake`` until its item is ``done``, or until it is to lead.
    """

    __slots__ = ("alone", "apart", "done", "error", "future", "item", "repeated", "taken", "wake")

    def __init__(self, item: T, future: asyncio.Future[None] | None = None) -> None:
        self.item = item
        self.future = future
        self.wake = threading.Lock()
        self.wake.acquire()
        self.taken = False  # it is in a batch
        self.alone = False  # it must not share a batch
        self.apart = False  # another thread than the leader settles it
        self.repeated = False  # an earlier try may have succeeded
        self.done = False
        self.error: BaseException | None = None


class GroupCommit(Generic[T]):
    """Commits items through ``store``, which stores all of its items, or raises and stores none.

    No batch has two items with the same ``key``. An item whose awaiting caller was canceled
    before its batch began is left out if ``drop_canceled``. A blocking caller that has waited
    ``patience`` seconds takes over from the leader, which may be gone after an exception from a
    signal handler. So two callers may lead at a time, if ``patience`` is given.
    """

    def __init__(
        self,
        store: Callable[[Sequence[T]], object],
        *,
        key: Callable[[T], object],
        drop_canceled: bool = False,
        patience: float = _FOREVER,
        thread_name: str,
    ) -> None:
        self._store = store
        self._key = key
        self._drop_canceled = drop_canceled
        self._patience = patience
        self._thread_name = thread_name
        self._lock = threading.Lock()  # of all that follows
        self._queue: list[Caller[T]] = []
        self._leader: object = None  # a Caller, or the thread's queue of calls
        self._thread: threading.Thread | None = None
        self._calls: SimpleQueue[bool] = SimpleQueue()  # to the thread: lead, or stop

    @property
    def waiting(self) -> int:
        """The number of items that wait for the next batch."""
        return len(self._queue)

    def commit(self, item: T) -> None:
        """Make ``item`` durable; blocks. Raises what went wrong with it."""
        caller = Caller(item)
        with self._lock:
            self._queue.append(caller)
            leads = self._leader is None
            if leads:
                self._leader = caller
        while not caller.done:
            if not leads:
                self._wait(caller)
                leads = self._leader is caller
            if leads:
                self._lead(caller)
                leads = False
        if caller.error is not None:
            raise caller.error

    def begin(self, item: T) -> asyncio.Future[None]:
        """Make ``item`` durable, as ``commit`` does, for the running event loop."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve)
        with self._lock:
            self._queue.append(Caller(item, future))
            if self._leader is None:
                self._call_thread()
        return future

    def stop(self, timeout: float | None = None) -> None:
        """End the thread after its current batch; wait ``timeout`` seconds for that.

        The thread starts again when needed.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._calls.put(False)
            self._calls = SimpleQueue()
        if thread is not None:
            thread.join(timeout)

    # --- who leads -------------------------------------------------------------------------

    def _wait(self, caller: Caller[T]) -> None:
        """Wait until ``caller`` is done or leads."""
        try:
            while not caller.wake.acquire(timeout=self._patience):
                with self._lock:
                    if not caller.taken:
                        self._leader = caller
                        return
        except BaseException:  # KeyboardInterrupt
            with self._lock:
                if caller in self._queue:
                    self._queue.remove(caller)
            self._hand_over(caller)
            raise

    def _lead(self, leader: Caller[T]) -> None:
        """Commit batches until the leader's own item was in one; then hand over."""
        try:
            while self._leader is leader and not leader.taken:
                self._serve(leader)
        finally:
            self._hand_over(leader)

    def _lead_for_others(self, calls: SimpleQueue[bool]) -> None:
        while calls.get():
            while self._leader is calls:
                self._serve(None)
                self._hand_over(calls)

    def _hand_over(self, leader: object) -> None:
        """Have the next in the queue lead, if ``leader`` still does."""
        with self._lock:
            if self._leader is not leader:
                return
            if not self._queue:
                self._rest()
                self._leader = None
            elif self._queue[0].future is None:
                self._leader = self._queue[0]
                _wake(self._queue[0])
            elif leader is not self._calls:
                self._call_thread()

    def _call_thread(self) -> None:
        """Have the thread lead. The lock is held."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._lead_for_others,
                args=(self._calls,),
                name=self._thread_name,
                daemon=True,
            )
            self._thread.start()
        self._leader = self._calls
        self._calls.put(True)

    # --- one batch -------------------------------------------------------------------------

    def _serve(self, leader: Caller[T] | None) -> None:
        """Commit the next batch and tell its callers. Only the leader calls this."""
        batch = self._next_batch()
        if not batch:
            return
        try:
            self._commit(batch)
        except DatabaseUnreachable as exc:
            for caller in batch:
                caller.error = copy.copy(exc)  # several threads raise it
                caller.error.__cause__ = exc.__cause__
        except Exception as exc:
            if len(batch) > 1:
                self._try_alone(batch)
                return
            batch[0].error = exc
        except BaseException as exc:  # KeyboardInterrupt, for the leader alone
            self._try_alone([caller for caller in batch if caller is not leader])
            if leader in batch:
                leader.error = exc
                leader.done = True
            raise
        settle([caller for caller in batch if not caller.apart])

    def _commit(self, batch: Sequence[Caller[T]]) -> None:
        """Store a batch; raises what went wrong with it."""
        self._store([caller.item for caller in batch])

    def _next_batch(self) -> list[Caller[T]]:
        """Return the next items of the queue, up to a second one of the same key."""
        batch: list[Caller[T]] = []
        keys: set[object] = set()
        key_of, drop = self._key, self._drop_canceled
        with self._lock:
            passed = 0
            for caller in self._queue:
                if drop and caller.future is not None and caller.future.cancelled():
                    passed += 1
                    continue
                key = key_of(caller.item)
                if len(batch) == _BATCH or key in keys or (caller.alone and batch):
                    break
                keys.add(key)
                caller.taken = True
                batch.append(caller)
                passed += 1
                if caller.alone:
                    break
            del self._queue[:passed]
        return batch

    def _try_alone(self, callers: Iterable[Caller[T]]) -> None:
        """Put these back to the front of the queue, each for a batch of its own."""
        again = [caller for caller in callers if not caller.done]
        for caller in again:
            caller.alone, caller.taken = True, False
        with self._lock:
            self._queue[:0] = again

    def _rest(self) -> None:
        """Called with the lock held when nothing is left to commit."""


def settle(callers: Iterable[Caller[Any]]) -> None:
    """Wake the callers; those that await with one call for each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Caller[Any]]] = {}
    for caller in callers:
        caller.done = True
        if caller.future is None:
            _wake(caller)
        else:
            loops.setdefault(caller.future.get_loop(), []).append(caller)
    for loop, awaiting in loops.items():
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_resolve, awaiting)


def _wake(caller: Caller[Any]) -> None:
    try:  # noqa: SIM105 - suppress() costs more than the release, and this is called for each item
        caller.wake.release()
    except RuntimeError:  # it is awake
        pass


def _resolve(callers: Sequence[Caller[Any]]) -> None:
    for caller in callers:
        future = caller.future
        assert future is not None
        if future.done():
            continue
        if caller.error is None:
            future.set_result(None)
        else:
            future.set_exception(caller.error)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Retrieve the error: a canceled caller does not, and asyncio would log it."""
    if not future.cancelled():
        future.exception()
