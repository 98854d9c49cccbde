"""PgQueuer: asyncpg and uvloop, LISTEN, jobs taken and acknowledged in batches."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from protocol import CALLERS, HANG_SECONDS, URL, main, report

BATCH = 200
RESULT_DEBOUNCE = timedelta(milliseconds=1)


class Pgqueuer:
    queries: Queries
    watcher: CompletionWatcher

    async def setup(self) -> None:
        conn = await asyncpg.connect(URL)
        await Queries(AsyncpgDriver(conn)).install()

    async def backlog(self, count: int, steps: int) -> None:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(URL)))
        await queries.enqueue(["nothing"] * count, [None] * count, [0] * count)

    async def connect(self) -> None:
        pool = await asyncpg.create_pool(URL, min_size=CALLERS, max_size=CALLERS)
        self.queries = Queries(AsyncpgPoolDriver(pool))
        driver = AsyncpgDriver(await asyncpg.connect(URL))
        self.watcher = CompletionWatcher(driver, queries=Queries(driver), debounce=RESULT_DEBOUNCE)
        await self.watcher.__aenter__()

    async def start(self, job: str, steps: int) -> Any:
        return (await self.queries.enqueue(job, None))[0]

    async def result(self, handle: Any) -> None:
        await self.watcher.wait_for(handle)

    async def work(self) -> None:
        queue = PgQueuer.from_asyncpg_connection(await asyncpg.connect(URL))

        @queue.entrypoint("nothing")
        async def nothing(job: Job) -> None:
            pass

        @queue.entrypoint("stamp")
        async def stamp(job: Job) -> None:
            report("stamp")

        @queue.entrypoint("hang")
        async def hang(job: Job) -> None:
            report("hang")
            await asyncio.sleep(HANG_SECONDS)

        await queue.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=1))


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    main(Pgqueuer())
