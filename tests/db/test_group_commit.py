"""Items of the same moment are stored together, and each caller hears of its own."""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from owsuper.db.group_commit import GroupCommit
from owsuper.db.new_runs import NewRun
from owsuper.errors import DatabaseUnreachable


def run(name: str) -> NewRun:
    return NewRun(workflow_name=name)


Store = Callable[[Sequence[NewRun]], object]


def group_commit(
    store: Store, *, key: Callable[[NewRun], object] = id, patience: float = -1
) -> GroupCommit[NewRun]:
    return GroupCommit(
        store, key=key, drop_canceled=True, patience=patience, thread_name="owsuper-test"
    )


class FakeStore:
    """Stores nothing before it is ``open``; refuses runs called ``bad``, and their groups."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.interrupt_group = False
        self.away = False

    def __call__(self, new: Sequence[NewRun]) -> None:
        names = [each.workflow_name for each in new]
        self.groups.append(names)
        self.entered.release()
        assert self.open.wait(30)
        if self.interrupt_group and len(names) > 1:
            raise KeyboardInterrupt
        if self.away:
            raise DatabaseUnreachable("away")
        if "bad" in names:
            raise ValueError(f"no good: {names}")


def until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def meet(
    store: FakeStore, names: Sequence[str], group: GroupCommit[NewRun] | None = None
) -> list[Future[None]]:
    """The first caller is on its way when the others come; the store opens when all are there."""
    group = group or group_commit(store)
    with ThreadPoolExecutor(len(names)) as threads:
        callers = [threads.submit(group.commit, run(names[0]))]
        assert store.entered.acquire(timeout=30)
        for count, name in enumerate(names[1:], 1):
            callers.append(threads.submit(group.commit, run(name)))
            until(lambda count=count: group.waiting == count)
        store.open.set()
    return callers


def test_a_caller_who_is_alone_goes_at_once() -> None:
    store = FakeStore()
    store.open.set()
    group = group_commit(store)
    group.commit(run("a"))
    group.commit(run("b"))
    assert store.groups == [["a"], ["b"]]


def test_who_comes_while_another_is_stored_goes_together() -> None:
    store = FakeStore()
    callers = meet(store, ["a", "b", "c", "d"])
    assert [caller.exception() for caller in callers] == [None] * 4
    assert store.groups == [["a"], ["b", "c", "d"]]


def test_a_group_is_bounded_and_the_rest_goes_after_it() -> None:
    store = FakeStore()
    callers = meet(store, [str(number) for number in range(100)])
    assert all(caller.exception() is None for caller in callers)
    assert [len(group) for group in store.groups] == [1, 64, 35]


def test_of_a_group_that_fails_only_the_guilty_caller_hears() -> None:
    store = FakeStore()
    good, other, bad, third = meet(store, ["a", "b", "bad", "c"])
    assert [each.exception() for each in (good, other, third)] == [None, None, None]
    with pytest.raises(ValueError, match=r"no good: \['bad'\]"):
        bad.result()
    assert sorted(group[0] for group in store.groups[2:]) == ["b", "bad", "c"]


def test_a_caller_who_fails_alone_is_not_stored_twice() -> None:
    store = FakeStore()
    store.open.set()
    group = group_commit(store)
    with pytest.raises(ValueError, match="no good"):
        group.commit(run("bad"))
    group.commit(run("a"))
    assert store.groups == [["bad"], ["a"]]


def test_an_interrupt_of_the_one_who_stores_leaves_no_other_waiting() -> None:
    store = FakeStore()
    store.interrupt_group = True
    first, storer, third, fourth = meet(store, ["a", "b", "c", "d"])
    assert isinstance(storer.exception(), KeyboardInterrupt)
    assert [each.exception() for each in (first, third, fourth)] == [None, None, None]
    assert sorted(group[0] for group in store.groups[2:]) == ["c", "d"]


def test_an_exception_of_a_signal_handler_at_any_line_reaches_its_caller_alone() -> None:
    """The caller is interrupted at one line after the other, until it ends without."""
    line, interrupted = 0, True
    while interrupted:
        line += 1
        interrupted = _interrupted_at(line)
    assert line > 20


def _interrupted_at(line: int) -> bool:
    """Whether the caller came to so many lines. Other callers, of both kinds, are served."""
    store = FakeStore()
    group = group_commit(store)
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith("group_commit.py"):
            return None
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        # The interpreter runs no signal handler between the end of a block and the release of
        # its lock, but it has a line event there.
        if event == "line" and not source.startswith("with "):
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    def commit_with_trace() -> None:
        sys.settrace(trace)
        try:
            group.commit(run("leader"))
        finally:
            sys.settrace(None)

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(group.commit, run("first"))
        assert store.entered.acquire(timeout=30)
        leader = threads.submit(commit_with_trace)
        until(lambda: group.waiting == 1 or leader.done())
        thread = threads.submit(group.commit, run("thread"))
        until(lambda: group.waiting >= 1 + (not leader.done()))
        task = threads.submit(asyncio.run, await_start(group, "task"))
        until(lambda: group.waiting >= 2 + (not leader.done()))
        store.open.set()
        for each in (first, thread, task):
            each.result(30)
        interrupted = leader.exception(30)
    assert interrupted is None or isinstance(interrupted, KeyboardInterrupt)
    assert {"first", "thread", "task"} <= {name for names in store.groups for name in names}
    return interrupted is not None


async def await_start(group: GroupCommit[NewRun], name: str) -> None:
    await group.begin(run(name))


def test_who_waits_too_long_takes_over_from_one_who_never_hands_over() -> None:
    stuck, entered = threading.Event(), threading.Event()
    stored: list[str] = []

    def store(new: Sequence[NewRun]) -> None:
        if new[0].workflow_name == "stuck":
            entered.set()
            assert stuck.wait(30)
        stored.extend(each.workflow_name for each in new)

    group = group_commit(store, patience=0.01)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(group.commit, run("stuck"))
        assert entered.wait(30)
        threads.submit(group.commit, run("next")).result(30)
        group.commit(run("after that"))
        assert stored == ["next", "after that"]
        stuck.set()
        first.result(30)
    group.commit(run("last"))
    assert stored == ["next", "after that", "stuck", "last"]


def test_in_an_outage_every_caller_hears_of_it_and_nobody_tries_again() -> None:
    store = FakeStore()
    store.away = True
    callers = meet(store, ["a", "b", "c"])
    assert [type(caller.exception()) for caller in callers] == [DatabaseUnreachable] * 3
    assert len({id(caller.exception()) for caller in callers}) == 3
    assert store.groups == [["a"], ["b", "c"]]


def test_two_items_of_one_key_follow_on_each_other() -> None:
    store = FakeStore()
    group = group_commit(store, key=lambda new: new.workflow_name)
    callers = meet(store, ["a", "b", "c", "b", "d"], group)
    assert [caller.exception() for caller in callers] == [None] * 5
    assert store.groups == [["a"], ["b", "c"], ["b", "d"]]


# --- tasks -----------------------------------------------------------------------------------


async def ameet(
    store: FakeStore, names: Sequence[str]
) -> tuple[GroupCommit[NewRun], list[asyncio.Future[None]]]:
    """As ``meet``, for tasks; the store is not open yet."""
    group = group_commit(store)
    futures = [group.begin(run(names[0]))]
    assert store.entered.acquire(timeout=30)
    futures += [group.begin(run(name)) for name in names[1:]]
    assert group.waiting == len(names) - 1
    return group, futures


def test_tasks_go_together_too() -> None:
    async def main() -> None:
        store = FakeStore()
        _, tasks = await ameet(store, ["a", "b", "c"])
        store.open.set()
        await asyncio.gather(*tasks)
        assert store.groups == [["a"], ["b", "c"]]

    asyncio.run(main())


def test_of_tasks_that_fail_together_only_the_guilty_hears() -> None:
    async def main() -> None:
        store = FakeStore()
        _, tasks = await ameet(store, ["bad", "b", "bad", "c"])
        store.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(each) for each in outcomes] == ["no good: ['bad']", "None"] * 2
        assert sorted(group[0] for group in store.groups[2:]) == ["b", "bad", "c"]

    asyncio.run(main())


@pytest.mark.parametrize("canceled", [0, 1, 2])
def test_a_canceled_task_takes_no_other_with_it(canceled: int) -> None:
    async def main() -> None:
        store = FakeStore()
        _, tasks = await ameet(store, ["a", "b", "c"])
        tasks[canceled].cancel()
        store.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in outcomes] == [
            number == canceled for number in range(3)
        ]
        assert all(each is None for number, each in enumerate(outcomes) if number != canceled)

    asyncio.run(main())


def test_a_group_of_tasks_is_bounded_even_if_its_first_members_are_canceled() -> None:
    async def main() -> None:
        store = FakeStore()
        _, tasks = await ameet(store, [str(number) for number in range(200)])
        for task in tasks[1:100]:
            task.cancel()
        store.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes.count(None) == 101
        assert [len(group) for group in store.groups] == [1, 64, 36]

    asyncio.run(main())


def test_when_all_who_wait_are_canceled_the_next_goes_at_once() -> None:
    async def main() -> None:
        store = FakeStore()
        group, [first, second] = await ameet(store, ["a", "b"])
        second.cancel()
        store.open.set()
        await asyncio.gather(first, second, return_exceptions=True)
        await group.begin(run("c"))
        assert store.groups == [["a"], ["c"]]

    asyncio.run(main())


def test_threads_and_the_tasks_of_several_loops_go_together() -> None:
    store = FakeStore()
    group = group_commit(store)

    async def task(name: str) -> None:
        await group.begin(run(name))

    with ThreadPoolExecutor(5) as threads:
        callers = [threads.submit(asyncio.run, task("a"))]
        assert store.entered.acquire(timeout=30)
        for count, name in enumerate("bcde", 1):
            if name in "bd":
                callers.append(threads.submit(asyncio.run, task(name)))
            else:
                callers.append(threads.submit(group.commit, run(name)))
            until(lambda count=count: group.waiting == count)
        store.open.set()
    assert [caller.exception() for caller in callers] == [None] * 5
    assert store.groups == [["a"], list("bcde")]


def test_a_loop_that_is_closed_meanwhile_harms_no_other_caller() -> None:
    store = FakeStore()
    group = group_commit(store)

    async def leave() -> None:
        group.begin(run("a"))
        assert store.entered.acquire(timeout=30)

    asyncio.run(leave())
    store.open.set()
    group.commit(run("b"))
    assert store.groups == [["a"], ["b"]]


def test_a_thread_that_was_stopped_starts_again() -> None:
    async def main() -> None:
        store = FakeStore()
        store.open.set()
        group = group_commit(store)
        before = set(threading.enumerate())
        for name in "abc":
            await group.begin(run(name))
            group.stop()
        assert set(threading.enumerate()) <= before
        assert store.groups == [["a"], ["b"], ["c"]]

    asyncio.run(main())


def test_an_item_that_gets_no_thread_is_not_stored_later() -> None:
    async def main() -> None:
        store = FakeStore()
        store.open.set()
        group = group_commit(store)
        threading.stack_size(1 << 46)  # bytes; no system has room for the stack of such a thread
        try:
            with pytest.raises(RuntimeError, match="start new thread"):
                group.begin(run("a"))
        finally:
            threading.stack_size(0)
        assert group.waiting == 0
        await group.begin(run("b"))
        assert store.groups == [["b"]]
        group.stop()

    asyncio.run(main())
