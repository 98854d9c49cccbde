"""pgtask: uvloop, a connection for each slot; its core claims and completes in batches; LISTEN."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from pgtask import Client, EnqueueRequest, Task, TaskRegistry, Worker
from protocol import CALLERS, HANG_SECONDS, SLOTS, URL, main, report

QUEUE = "bench"
BULK = 1000
# Its driver takes no empty host after a user, although a host in the query, a directory, prevails.
DATABASE = URL.replace("@/", "@localhost/", 1)

tasks = TaskRegistry(queue_name=QUEUE)


@tasks.task("nothing")
async def nothing(task: Task, steps: int) -> None:
    for number in range(steps):
        await task.step("nothing", _nothing, number)


@tasks.task("stamp")
async def stamp(task: Task, steps: int) -> None:
    async def report_stamp() -> None:
        report("stamp")

    await task.step("stamp", report_stamp)


@tasks.task("hang")
async def hang(task: Task, steps: int) -> None:
    async def report_and_hang() -> None:
        report("hang")
        await asyncio.sleep(HANG_SECONDS)

    await task.step("hang", report_and_hang)


async def _nothing() -> None:
    pass


class Pgtask:
    client: Client

    async def setup(self) -> None:
        await self.connect()
        await self.client.migrate()

    async def backlog(self, count: int, steps: int) -> None:
        await self.connect()
        for begin in range(0, count, BULK):
            size = min(BULK, count - begin)
            await self.client.enqueue_many([_request("nothing", steps)] * size)

    async def connect(self) -> None:
        self.client = await Client.connect(DATABASE, max_query_connections=CALLERS)

    async def start(self, job: str, steps: int) -> Any:
        return await self.client.enqueue(_request(job, steps))

    async def result(self, handle: Any) -> None:
        await handle.result()

    async def work(self) -> None:
        await Worker(DATABASE, tasks, concurrency=SLOTS, max_query_connections=SLOTS).run()


def _request(job: str, steps: int) -> EnqueueRequest[Any]:
    return EnqueueRequest(job, steps, queue_name=QUEUE)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    main(Pgtask())
