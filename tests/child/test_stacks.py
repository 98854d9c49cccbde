"""The stacks of the threads and asyncio tasks of this process, as text."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from owsuper.child import stacks


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What the code of a test waits for, and finds set at the end."""
    gate, before = threading.Event(), set(threading.enumerate())
    yield gate
    gate.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)  # the next test must not see it


def in_thread(name: str, target: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    thread.start()
    return thread


def part(text: str, heading: str) -> str:
    """The part of ``text`` under a heading that begins so."""
    lines = text.splitlines()
    [start] = [n for n, line in enumerate(lines) if line.startswith(heading)]
    end = next((n for n in range(start + 1, len(lines)) if lines[n][0] != " "), len(lines))
    return "\n".join(lines[start:end])


def charge(gate: threading.Event) -> None:
    gate.wait()


def await_stacks(pattern: str) -> str:
    """The stacks, once they match: threads need a moment until they wait."""
    deadline = time.monotonic() + 30
    while not re.search(pattern, text := stacks.describe(), re.M):
        assert time.monotonic() < deadline, text
    return text


def test_a_thread_is_shown_with_its_name_from_the_first_frame_of_user_code_on(
    gate: threading.Event,
) -> None:
    in_thread("charging", charge, gate)
    lines = part(await_stacks(r"^    gate\.wait\(\)$"), "thread charging").splitlines()
    assert lines[0] == "thread charging:"
    assert lines[1].startswith(f'  File "{__file__}", line')
    assert lines[1].endswith("in charge")
    assert lines[2] == "    gate.wait()"


def test_threads_that_are_alike_are_shown_once(gate: threading.Event) -> None:
    for number in range(3):
        in_thread(f"alike {number}", charge, gate)
    await_stacks(r"^thread alike \d and 2 more:$")


def test_the_thread_that_looks_is_not_shown() -> None:
    assert "describe" not in stacks.describe()


@pytest.mark.parametrize("known", [True, False])
def test_a_task_is_shown_with_all_that_it_awaits(known: bool) -> None:
    async def inner() -> None:
        await asyncio.sleep(3600)

    class Wrapped:
        def __await__(self) -> Generator[Any, Any, None]:
            return inner().__await__()

    async def items() -> AsyncIterator[int]:
        await Wrapped()
        yield 1

    async def outer() -> None:
        async for _ in items():
            pass

    async def main() -> str:
        task = asyncio.create_task(outer(), name="waiting")
        await asyncio.sleep(0)
        loops = [asyncio.get_running_loop()] if known else []
        described = await asyncio.to_thread(stacks.describe, loops)
        task.cancel()
        return described

    shown = part(asyncio.run(main()), "task waiting")
    assert re.findall(r", in (\w+)\n", shown) == ["outer", "items", "inner", "sleep"]


def test_an_awaitable_that_has_every_attribute_ends_the_stack() -> None:
    async def waits(for_what: Any) -> None:
        await for_what

    class Everything(asyncio.Future[None]):
        def __getattr__(self, name: str) -> Any:
            return Everything()

    async def main() -> str:
        task = asyncio.create_task(waits(Everything()))
        await asyncio.sleep(0)
        shown = stacks.of_awaitable(task.get_coro(), 0)
        task.cancel()
        return shown

    assert "await for_what" in asyncio.run(main())


def test_the_stack_of_a_thread_that_is_over_is_empty() -> None:
    thread = in_thread("brief", int)
    thread.join()
    assert thread.ident is not None
    assert stacks.of_thread(thread.ident) == ""


def test_a_loop_that_is_blocked_is_read_too(gate: threading.Event) -> None:
    async def waits() -> None:
        await asyncio.sleep(3600)

    async def blocks() -> None:
        task = asyncio.create_task(waits(), name="starving")
        await asyncio.sleep(0)
        charge(gate)
        task.cancel()

    in_thread("blocked loop", lambda: asyncio.run(blocks()))
    text = await_stacks(r"^  File .*, in charge$")
    assert "in charge" in part(text, "thread blocked loop")
    assert "in waits" in part(text, "task starving")


def test_it_can_be_read_while_threads_and_tasks_come_and_go() -> None:
    over = threading.Event()

    async def churn() -> None:
        while not over.is_set():
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(50)))

    def churn_threads() -> None:
        while not over.is_set():
            threading.Thread(target=int).start()

    threads = [
        in_thread("tasks", lambda: asyncio.run(churn())),
        in_thread("threads", churn_threads),
    ]
    for _ in range(200):
        assert "thread threads" in stacks.describe()
    over.set()
    for thread in threads:
        thread.join()


def test_names_that_are_no_text_are_described_as_messages_and_the_database_take_them() -> None:
    gate = threading.Event()
    thread = in_thread("caf\udce9 \0", gate.wait)
    assert "thread caf\\udce9 \ufffd:" in stacks.describe()
    gate.set()
    thread.join()
