"""Oban: many slots a process, so that it takes and acknowledges jobs in batches; LISTEN."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from oban import Oban, worker
from oban.schema import install
from protocol import CALLERS, HANG_SECONDS, URL, main, report

LIMIT = 200
"""Jobs that one process runs at once, and so at most takes and acknowledges at once."""
BULK = 1000


@worker(queue="default")
class Nothing:
    async def process(self, job: Any) -> None:
        pass


@worker(queue="default")
class Stamp:
    async def process(self, job: Any) -> None:
        report("stamp")


@worker(queue="default")
class Hang:
    async def process(self, job: Any) -> None:
        report("hang")
        await asyncio.sleep(HANG_SECONDS)


JOBS = {"nothing": Nothing, "stamp": Stamp, "hang": Hang}


class ObanPeer:
    oban: Oban

    async def setup(self) -> None:
        await install(await Oban.create_pool(URL))

    async def backlog(self, count: int, steps: int) -> None:
        await self.connect()
        for begin in range(0, count, BULK):
            await self.oban.enqueue_many([Nothing.new() for _ in range(min(BULK, count - begin))])

    async def connect(self) -> None:
        pool = await Oban.create_pool(URL, min_size=CALLERS, max_size=CALLERS)
        self.oban = Oban(pool=pool)

    async def start(self, job: str, steps: int) -> Any:
        return await self.oban.enqueue(JOBS[job].new())

    async def result(self, handle: Any) -> None:
        raise NotImplementedError

    async def work(self) -> None:
        pool = await Oban.create_pool(URL, min_size=4, max_size=8)
        async with Oban(pool=pool, queues={"default": LIMIT}):
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    main(ObanPeer())
