"""Callers of the same moment are stored together, and each hears of its own run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from owsuper.db.clients import NewRun
from owsuper.db.group_commit import AsyncGroupCommit, GroupCommit

LARGE = b'"' + b"x" * 70000 + b'"'


def run(name: str, input_json: bytes | None = None) -> NewRun:
    return NewRun(workflow_name=name, input_json=input_json)


class Shelf:
    """Stores nothing before it is ``open``; refuses runs called ``bad``, and their company."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.interrupt_group = False

    def store(self, new: Sequence[NewRun]) -> None:
        names = [each.workflow_name for each in new]
        self.groups.append(names)
        self.entered.release()
        assert self.open.wait(30)
        if self.interrupt_group and len(names) > 1:
            raise KeyboardInterrupt
        if "bad" in names:
            raise ValueError(f"no good: {names}")


def until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def meet(shelf: Shelf, names: Sequence[str]) -> list[Future[None]]:
    """The first caller is on its way when the others come; the shelf opens when all are there."""
    company = GroupCommit(shelf.store)
    with ThreadPoolExecutor(len(names)) as threads:
        callers = [threads.submit(company.start, run(names[0]))]
        assert shelf.entered.acquire(timeout=30)
        for count, name in enumerate(names[1:], 1):
            callers.append(threads.submit(company.start, run(name)))
            until(lambda count=count: company.waiting == count)  # type: ignore[misc]
        shelf.open.set()
    return callers


def test_a_caller_who_is_alone_goes_at_once() -> None:
    shelf = Shelf()
    shelf.open.set()
    company = GroupCommit(shelf.store)
    company.start(run("a"))
    company.start(run("b"))
    assert shelf.groups == [["a"], ["b"]]


def test_who_comes_while_another_is_stored_goes_together() -> None:
    shelf = Shelf()
    callers = meet(shelf, ["a", "b", "c", "d"])
    assert [caller.exception() for caller in callers] == [None] * 4
    assert shelf.groups == [["a"], ["b", "c", "d"]]


def test_a_group_is_bounded_and_the_rest_goes_after_it() -> None:
    shelf = Shelf()
    callers = meet(shelf, [str(number) for number in range(100)])
    assert all(caller.exception() is None for caller in callers)
    assert [len(group) for group in shelf.groups] == [1, 64, 35]


def test_of_a_group_that_fails_only_the_guilty_caller_hears() -> None:
    shelf = Shelf()
    good, other, bad, third = meet(shelf, ["a", "b", "bad", "c"])
    assert [each.exception() for each in (good, other, third)] == [None, None, None]
    with pytest.raises(ValueError, match=r"no good: \['bad'\]"):
        bad.result()
    assert sorted(group[0] for group in shelf.groups[2:]) == ["b", "bad", "c"]


def test_a_caller_who_fails_alone_is_not_stored_twice() -> None:
    shelf = Shelf()
    shelf.open.set()
    company = GroupCommit(shelf.store)
    with pytest.raises(ValueError, match="no good"):
        company.start(run("bad"))
    company.start(run("a"))
    assert shelf.groups == [["bad"], ["a"]]


def test_an_interrupt_of_the_one_who_stores_leaves_no_other_waiting() -> None:
    shelf = Shelf()
    shelf.interrupt_group = True
    first, storer, third, fourth = meet(shelf, ["a", "b", "c", "d"])
    assert isinstance(storer.exception(), KeyboardInterrupt)
    assert [each.exception() for each in (first, third, fourth)] == [None, None, None]
    assert sorted(group[0] for group in shelf.groups[2:]) == ["c", "d"]


def test_who_waits_too_long_takes_over_from_one_who_never_hands_over() -> None:
    stuck, entered = threading.Event(), threading.Event()
    stored: list[str] = []

    def store(new: Sequence[NewRun]) -> None:
        if new[0].workflow_name == "stuck":
            entered.set()
            assert stuck.wait(30)
        stored.extend(each.workflow_name for each in new)

    company = GroupCommit(store, patience=0.01)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(company.start, run("stuck"))
        assert entered.wait(30)
        threads.submit(company.start, run("next")).result(30)
        company.start(run("after that"))
        assert stored == ["next", "after that"]
        stuck.set()
        first.result(30)
    company.start(run("last"))
    assert stored == ["next", "after that", "stuck", "last"]


def test_a_large_run_keeps_nobody_waiting() -> None:
    shelf = Shelf()
    company = GroupCommit(shelf.store)
    with ThreadPoolExecutor(2) as threads:
        large = threads.submit(company.start, run("large", LARGE))
        assert shelf.entered.acquire(timeout=30)
        small = threads.submit(company.start, run("a"))
        assert shelf.entered.acquire(timeout=30)  # though the large one is not stored yet
        shelf.open.set()
    assert large.exception() is None
    assert small.exception() is None
    assert shelf.groups == [["large"], ["a"]]


# --- tasks -----------------------------------------------------------------------------------


class AsyncShelf:
    """As Shelf, for tasks."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open = asyncio.Event()

    async def store(self, new: Sequence[NewRun]) -> None:
        names = [each.workflow_name for each in new]
        self.groups.append(names)
        await self.open.wait()
        if "bad" in names:
            raise ValueError(f"no good: {names}")


async def ameet(shelf: AsyncShelf, names: Sequence[str]) -> list[asyncio.Task[None]]:
    company = AsyncGroupCommit(shelf.store)
    tasks = [asyncio.create_task(company.start(run(name))) for name in names]
    while company.waiting < len(names) - 1:
        await asyncio.sleep(0)
    return tasks


def test_tasks_go_together_too() -> None:
    async def main() -> None:
        shelf = AsyncShelf()
        tasks = await ameet(shelf, ["a", "b", "c"])
        shelf.open.set()
        await asyncio.gather(*tasks)
        assert shelf.groups == [["a"], ["b", "c"]]

    asyncio.run(main())


def test_of_tasks_that_fail_together_only_the_guilty_hears() -> None:
    async def main() -> None:
        shelf = AsyncShelf()
        tasks = await ameet(shelf, ["bad", "b", "bad", "c"])
        shelf.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(each) for each in outcomes] == ["no good: ['bad']", "None"] * 2
        assert sorted(group[0] for group in shelf.groups[2:]) == ["b", "bad", "c"]

    asyncio.run(main())


@pytest.mark.parametrize("canceled", [0, 1, 2])
def test_a_canceled_task_takes_no_other_with_it(canceled: int) -> None:
    async def main() -> None:
        shelf = AsyncShelf()
        tasks = await ameet(shelf, ["a", "b", "c"])
        tasks[canceled].cancel()
        shelf.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in outcomes] == [
            number == canceled for number in range(3)
        ]
        assert all(each is None for number, each in enumerate(outcomes) if number != canceled)

    asyncio.run(main())


def test_a_group_of_tasks_is_bounded_even_if_its_first_members_are_canceled() -> None:
    async def main() -> None:
        shelf = AsyncShelf()
        tasks = await ameet(shelf, [str(number) for number in range(200)])
        for task in tasks[1:100]:
            task.cancel()
        shelf.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes.count(None) == 101
        assert [len(group) for group in shelf.groups] == [1, 64, 36]

    asyncio.run(main())


def test_when_all_who_wait_are_canceled_the_next_goes_at_once() -> None:
    async def main() -> None:
        shelf = AsyncShelf()
        company = AsyncGroupCommit(shelf.store)
        first = asyncio.create_task(company.start(run("a")))
        await asyncio.sleep(0)
        second = asyncio.create_task(company.start(run("b")))
        await asyncio.sleep(0)
        second.cancel()
        shelf.open.set()
        await asyncio.gather(first, second, return_exceptions=True)
        await company.start(run("c"))
        assert shelf.groups == [["a"], ["c"]]

    asyncio.run(main())
