"""Group commit: concurrent writes share a statement, a round trip and a flush to disk.

Clients use it to start runs (client/session.py), and children to commit write sets
(child/committer.py).

Callers put an item into the queue. One caller, the leader, commits the items of all callers that
wait. When its own item is committed, the next caller in the queue becomes the leader. A single
caller commits at once, without waiting for others. Callers that await cannot lead, so a thread
leads for them.

If a batch fails, its items are retried one by one, so that each caller gets its own error.
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
    """A caller with its item and the outcome: ``error`` is None for success.

    A blocking caller sleeps on ``wake`` until its item is ``done``, or until it must lead. While
    it leads, ``batch`` is what it commits.
    """

    __slots__ = (
        "batch",
        "done",
        "error",
        "future",
        "in_batch",
        "item",
        "repeated",
        "retried_separately",
        "retry_alone",
        "wake",
    )

    def __init__(self, item: T, future: asyncio.Future[None] | None = None) -> None:
        self.item = item
        self.future = future
        self.wake = threading.Lock()
        self.wake.acquire()
        self.in_batch = False
        self.retry_alone = False  # the item must not share a batch
        self.retried_separately = False  # a thread other than the leader completes it
        self.repeated = False  # an earlier attempt may have succeeded
        self.batch: list[Caller[T]] = []
        self.done = False
        self.error: BaseException | None = None


class GroupCommit(Generic[T]):
    """Commits items through ``store``, which stores all of its items, or raises and stores none.

    No batch has two items with the same ``key``. An item whose awaiting caller was canceled
    before its batch began is left out if ``drop_canceled``. A blocking caller that has waited
    ``patience`` seconds takes over from the leader, so two callers may lead at a time, if
    ``patience`` is given.

    An exception that a signal handler raises in a blocking caller, at any point, reaches that
    caller alone. So ``store`` may be called twice with an item.
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
        self._lock = threading.Lock()  # guards the fields below
        self._queue: list[Caller[T]] = []
        self._leader: object = None  # a Caller, or the thread's queue of calls
        self._thread: threading.Thread | None = None
        self._calls: SimpleQueue[bool] = SimpleQueue()  # True: the thread leads; False: it ends

    @property
    def waiting(self) -> int:
        """Number of items that wait for the next batch."""
        return len(self._queue)

    def commit(self, item: T) -> None:
        """Make ``item`` durable; blocks. Raises the error of its write."""
        caller = Caller(item)
        try:
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
        except BaseException:  # of a signal handler, such as KeyboardInterrupt
            self._withdraw(caller)
            raise
        if caller.error is not None:
            raise caller.error

    def begin(self, item: T) -> asyncio.Future[None]:
        """Make ``item`` durable, as ``commit`` does, for the running event loop.

        Raises RuntimeError, with nothing queued, if the thread is needed and cannot be started.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve)
        with self._lock:
            if self._leader is None:
                self._call_thread()  # before the item is queued: it may fail
            self._queue.append(Caller(item, future))
        return future

    def prepare(self) -> None:
        """Start the thread that leads for callers that await. Raises as ``Thread.start`` does."""
        with self._lock:
            self._start_thread()

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

    # --- choosing the leader ---------------------------------------------------------------

    def _wait(self, caller: Caller[T]) -> None:
        """Wait until ``caller`` is done or leads."""
        while not caller.wake.acquire(timeout=self._patience):
            with self._lock:
                if not caller.in_batch:
                    self._leader = caller
                    return

    def _lead(self, leader: Caller[T]) -> None:
        """Commit batches until one contains the leader's own item; then hand over."""
        while self._leader is leader and not leader.in_batch:
            leader.batch = []
            self._serve(leader.batch)
        self._hand_over(leader)

    def _lead_for_others(self, calls: SimpleQueue[bool]) -> None:
        while calls.get():
            while self._leader is calls:
                self._serve([])
                self._hand_over(calls)

    def _withdraw(self, caller: Caller[T]) -> None:
        """Leave, wherever ``caller`` was interrupted; other callers must not notice."""
        others = [each for each in caller.batch if each is not caller]
        settle([each for each in others if each.done])  # perhaps they were not woken yet
        with self._lock:
            queued = {*self._queue}
            for each in queued:  # the batch may have been filled in part
                each.in_batch = False
            again = [each for each in others if each not in queued and not each.done]
            again = [each for each in again if not each.retried_separately]
            for each in again:
                each.retry_alone, each.in_batch = True, False
            self._queue[:] = [*again, *(each for each in self._queue if each is not caller)]
        self._hand_over(caller)

    def _hand_over(self, leader: object) -> None:
        """Make the next caller in the queue the leader, unless ``leader`` was replaced."""
        with self._lock:
            if self._leader is not leader:
                return
            if not self._queue:
                self._on_queue_empty()
                self._leader = None
            elif self._queue[0].future is None:
                self._leader = self._queue[0]
                _wake(self._queue[0])
            elif leader is not self._calls:
                self._call_thread()

    def _call_thread(self) -> None:
        """Make the thread the leader. The lock is held."""
        self._start_thread()
        self._leader = self._calls
        self._calls.put(True)

    def _start_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(
                target=self._lead_for_others,
                args=(self._calls,),
                name=self._thread_name,
                daemon=True,
            )
            thread.start()
            self._thread = thread

    # --- one batch -------------------------------------------------------------------------

    def _serve(self, batch: list[Caller[T]]) -> None:
        """Fill ``batch``, commit it and wake its callers. Only the leader calls this."""
        self._fill(batch)
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
        settle([caller for caller in batch if not caller.retried_separately])

    def _commit(self, batch: Sequence[Caller[T]]) -> None:
        """Store a batch. Raises the error of the whole batch."""
        self._store([caller.item for caller in batch])

    def _fill(self, batch: list[Caller[T]]) -> None:
        """Take callers from the front of the queue, up to a second item of the same key."""
        keys: set[object] = set()
        key_of, drop = self._key, self._drop_canceled
        with self._lock:
            examined = 0
            for caller in self._queue:
                if drop and caller.future is not None and caller.future.cancelled():
                    examined += 1
                    continue
                key = key_of(caller.item)
                if len(batch) == _BATCH or key in keys or (caller.retry_alone and batch):
                    break
                keys.add(key)
                caller.in_batch = True
                batch.append(caller)
                examined += 1
                if caller.retry_alone:
                    break
            del self._queue[:examined]

    def _try_alone(self, callers: Iterable[Caller[T]]) -> None:
        """Put these back at the front of the queue, each for a batch of its own."""
        again = [caller for caller in callers if not caller.done]
        for caller in again:
            caller.retry_alone, caller.in_batch = True, False
        with self._lock:
            self._queue[:0] = again

    def _on_queue_empty(self) -> None:
        """Do nothing. For subclasses; called with the lock held when the queue is empty."""


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
    except RuntimeError:  # the caller is awake
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
    """Retrieve the error. A canceled caller does not, and then asyncio would log the error."""
    if not future.cancelled():
        future.exception()
