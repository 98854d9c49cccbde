"""Resources: opened once in each process, given to functions, closed at the end, faked in tests."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from owsuper import AsyncStep, OpenWorkflow, Step
from owsuper.errors import ConfigurationError
from owsuper.testing import run_in_process


class Client:
    def __init__(self, name: str = "real") -> None:
        self.name = name
        self.open = True


@pytest.fixture
def ow() -> OpenWorkflow:
    return OpenWorkflow("postgresql://nobody@127.0.0.1:1/nowhere")


def test_a_resource_is_opened_once_however_many_threads_use_it(ow: OpenWorkflow) -> None:
    opened: list[Client] = []
    gate = threading.Barrier(8)

    @ow.resource
    def client() -> Client:
        opened.append(Client())
        return opened[-1]

    def use() -> Client:
        gate.wait()
        return client.get()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: use(), range(8)))
    assert len(opened) == 1
    assert found == opened * 8


def test_what_follows_the_yield_closes_it_and_the_next_use_opens_it_again(
    ow: OpenWorkflow,
) -> None:
    @ow.resource
    def client() -> Iterator[Client]:
        made = Client()
        yield made
        made.open = False

    first = client.get()
    [stop] = ow.stop_hooks
    assert first.open
    assert stop() is None
    assert not first.open
    assert client.get() is not first
    stop()
    stop()  # nothing is open


def test_an_async_resource_is_opened_once_on_its_loop(ow: OpenWorkflow) -> None:
    opened: list[Client] = []

    @ow.resource
    async def client() -> AsyncIterator[Client]:
        await asyncio.sleep(0)
        opened.append(Client())
        yield opened[-1]
        await asyncio.sleep(0)
        opened[-1].open = False

    async def main() -> None:
        found = await asyncio.gather(*(client.aget() for _ in range(5)))
        assert found == opened * 5
        closing = client.close()
        assert closing is not None
        await closing
        assert not opened[0].open

    asyncio.run(main())
    assert len(opened) == 1


def test_an_async_resource_is_closed_by_the_task_that_has_opened_it(ow: OpenWorkflow) -> None:
    number: ContextVar[int] = ContextVar("number", default=0)

    @ow.resource
    async def client() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            yield number.get()

    async def main() -> None:
        number.set(1)
        assert await asyncio.create_task(client.aget()) == 0  # nothing of whoever comes first
        closing = client.close()
        assert closing is not None
        await closing
        assert await client.aget() == 0

    asyncio.run(main())  # closes what is open


def test_an_async_resource_whose_task_has_failed_is_opened_again(ow: OpenWorkflow) -> None:
    opened: list[asyncio.Event] = []

    async def fail(now: asyncio.Event) -> None:
        await now.wait()
        raise OSError("the connection is lost")

    @ow.resource
    async def client() -> AsyncIterator[asyncio.Event]:
        opened.append(asyncio.Event())
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(fail(opened[-1]))
            yield opened[-1]
            watching.cancel()

    async def main() -> None:
        first = await client.aget()
        first.set()
        while (second := await client.aget()) is first:
            await asyncio.sleep(0)
        assert opened == [first, second]
        assert await client.aget() is second
        closing = client.close()
        assert closing is not None
        await closing

    asyncio.run(main())


def test_a_class_without_a_signature_may_be_a_factory(ow: OpenWorkflow) -> None:
    assert ow.resource(dict).get() == {}


def test_what_closing_raises_reaches_who_closes(ow: OpenWorkflow) -> None:
    @ow.resource
    async def client() -> AsyncIterator[int]:
        yield 5
        raise OSError("cannot be closed")

    async def main() -> None:
        assert await client.aget() == 5
        closing = client.close()
        assert closing is not None
        with pytest.raises(OSError, match="cannot be closed"):
            await closing

    asyncio.run(main())


def test_a_cancelled_caller_does_not_spoil_the_resource(ow: OpenWorkflow) -> None:
    @ow.resource
    async def client() -> int:
        await asyncio.sleep(0.01)
        return 5

    async def main() -> None:
        first = asyncio.create_task(client.aget())
        await asyncio.sleep(0)
        first.cancel()
        assert await client.aget() == 5

    asyncio.run(main())


def test_overrides_end_in_their_order_even_if_they_are_equal(ow: OpenWorkflow) -> None:
    class Equal(Client):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    @ow.resource
    def client() -> Client:
        return Client()

    outer, inner = Equal("outer"), Equal("inner")
    with ow.override(client, outer):
        with ow.override(client, inner):
            assert client.get() is inner
        assert client.get() is outer


def test_a_factory_that_fails_is_tried_again_at_the_next_use(ow: OpenWorkflow) -> None:
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no route")
        return 5

    async def aflaky() -> int:
        return flaky()

    client = ow.resource(flaky)
    with pytest.raises(OSError, match="no route"):
        client.get()
    assert client.get() == 5

    tries.clear()
    aclient = ow.resource(aflaky)

    async def main() -> None:
        with pytest.raises(OSError, match="no route"):
            await aclient.aget()
        assert await aclient.aget() == 5

    asyncio.run(main())


def test_what_cannot_be_opened_is_named_beside_the_error(ow: OpenWorkflow) -> None:
    @ow.resource
    def client() -> int:
        raise OSError("no route")

    @ow.resource
    async def empty() -> AsyncIterator[int]:
        return
        yield

    with pytest.raises(OSError, match="no route") as failed:
        client.get()
    assert "client could not be opened" in failed.value.__notes__[0]
    with pytest.raises(RuntimeError, match="didn't yield") as nothing:
        asyncio.run(empty.aget())
    assert "empty could not be opened" in nothing.value.__notes__[0]


@pytest.mark.timeout(30)
def test_a_resource_that_needs_itself_is_an_error_and_not_waited_for(ow: OpenWorkflow) -> None:
    @ow.resource
    def own() -> Any:
        return own.get()

    @ow.resource
    def one() -> Any:
        return other.get()

    @ow.resource
    def other() -> Any:
        return one.get()

    @ow.resource
    async def aone() -> Any:
        return await aother.aget()

    @ow.resource
    async def aother() -> Any:
        return await asyncio.create_task(aone.aget())

    for sync in (own, one, other):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="needs itself"):
                sync.get()
    with pytest.raises(ConfigurationError, match="aone needs itself"):
        asyncio.run(aone.aget())


def test_a_resource_may_be_used_by_the_tasks_that_its_factory_leaves(ow: OpenWorkflow) -> None:
    renewed: list[Any] = []

    @ow.resource
    async def client() -> AsyncIterator[str]:
        async def renew() -> None:
            await asyncio.sleep(0)
            renewed.append(await client.aget())

        async with asyncio.TaskGroup() as group:
            yield "client"
            await group.create_task(renew())

    async def main() -> None:
        await client.aget()
        closing = client.close()
        assert closing is not None
        await closing

    asyncio.run(main())
    assert renewed == ["client"]


@pytest.mark.timeout(30)
def test_closing_does_not_wait_for_a_factory_that_hangs(ow: OpenWorkflow) -> None:
    @ow.resource
    async def client() -> int:
        await asyncio.Event().wait()
        return 5

    async def main() -> None:
        using = asyncio.create_task(client.aget())
        await asyncio.sleep(0)
        closing = client.close()
        assert closing is not None
        await closing
        with pytest.raises(asyncio.CancelledError):
            await using

    asyncio.run(main())


def test_steps_get_it_as_their_first_argument(ow: OpenWorkflow) -> None:
    @ow.resource
    def client() -> Client:
        return Client()

    @client.inject
    def charge(client: Client, amount: int) -> str:
        return f"{client.name} {amount}"

    @client.inject
    async def acharge(client: Client, amount: int) -> str:
        return f"{client.name} {amount}"

    @ow.workflow
    def order(step: Step) -> list[str]:
        return [step.run("charge", charge, 5), step.run("acharge", acharge, 6)]

    @ow.workflow
    async def aorder(step: AsyncStep) -> list[str]:
        return [await step.run("charge", charge, 5), await step.run("acharge", acharge, 6)]

    for workflow in (order, aorder):
        assert run_in_process(workflow).result == ["real 5", "real 6"]
        with ow.override(client, Client("fake")):
            assert run_in_process(workflow).result == ["fake 5", "fake 6"]
        assert run_in_process(workflow).result == ["real 5", "real 6"]


def test_the_loop_of_a_test_closes_what_was_opened_on_it(ow: OpenWorkflow) -> None:
    closed: list[int] = []

    @ow.resource
    async def client() -> AsyncIterator[int]:
        yield 5
        closed.append(1)

    @client.inject
    async def charge(client: int) -> int:
        return client

    @ow.workflow
    async def order(step: AsyncStep) -> int:
        return await step.run("charge", charge)

    for count in (1, 2):
        assert run_in_process(order).result == 5
        assert len(closed) == count


def test_an_async_resource_is_for_async_functions(ow: OpenWorkflow) -> None:
    @ow.resource
    async def client() -> Client:
        return Client()

    def charge(client: Client) -> str:
        return client.name

    with pytest.raises(ConfigurationError, match=r"is async, so a function that gets it must be"):
        client.inject(charge)
    with pytest.raises(ConfigurationError, match=r"client is async: use it in an async function"):
        client.get()
    with ow.override(client, Client("fake")):
        assert client.get().name == "fake"


def test_a_factory_with_arguments_is_refused(ow: OpenWorkflow) -> None:
    def needs(url: str) -> Any: ...

    with pytest.raises(ConfigurationError, match=r"resource calls .*needs without arguments"):
        ow.resource(needs)  # type: ignore[arg-type]


def test_a_factory_whose_yield_a_decorator_hides_is_refused(ow: OpenWorkflow) -> None:
    def client() -> Iterator[Client]:
        yield Client()

    async def aclient() -> AsyncIterator[Client]:
        yield Client()

    for factory in (contextmanager(client), asynccontextmanager(aclient)):
        with pytest.raises(ConfigurationError, match=r"client yields, and a decorator hides it"):
            ow.resource(factory)


def test_only_a_function_with_a_first_argument_can_get_it(ow: OpenWorkflow) -> None:
    client = ow.resource(Client)

    def nothing() -> None: ...

    def by_name(*, client: Client) -> None: ...

    for fn in (nothing, by_name, 5):
        with pytest.raises(ConfigurationError, match=r"cannot get the resource Client as its fir"):
            client.inject(fn)  # type: ignore[arg-type]


def test_only_a_resource_can_be_overridden(ow: OpenWorkflow) -> None:
    def make() -> Client:
        return Client()

    ow.resource(make)
    with pytest.raises(ConfigurationError, match=r"make at .* is no resource. Pass what ow.resou"):
        ow.override(make, Client("fake")).__enter__()  # type: ignore[arg-type]


def test_a_forked_process_opens_its_own(ow: OpenWorkflow) -> None:
    @ow.resource
    def client() -> Iterator[int]:
        yield os.getpid()

    assert client.get() == os.getpid()
    if (child := os.fork()) == 0:
        os._exit(0 if client.get() == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.get() == os.getpid()
