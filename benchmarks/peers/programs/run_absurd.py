"""absurd: a worker with a thread for each slot, polling every 50 ms; a connection a caller."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
from absurd_sdk import Absurd, AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL
from protocol import CALLERS, HANG_SECONDS, SLOTS, URL, main, report

POLL = 0.05
QUEUE = "bench"


class AbsurdPeer:
    idle: asyncio.Queue[AsyncAbsurd]

    async def setup(self) -> None:
        with psycopg.connect(URL, autocommit=True) as conn:
            conn.execute(BUNDLED_SCHEMA_SQL)
        app = AsyncAbsurd(URL, queue_name=QUEUE)
        await app.create_queue(QUEUE)
        await app.close()

    async def backlog(self, count: int, steps: int) -> None:
        app = AsyncAbsurd(URL, queue_name=QUEUE)
        await app.list_queues()  # connects
        assert app._conn is not None
        async with app._conn.transaction():
            for _ in range(count):
                await app.spawn("nothing", steps, queue=QUEUE)
        await app.close()

    async def connect(self) -> None:
        self.idle = asyncio.Queue()
        for _ in range(CALLERS):
            app = AsyncAbsurd(URL, queue_name=QUEUE)
            await app.list_queues()
            self.idle.put_nowait(app)

    async def start(self, job: str, steps: int) -> Any:
        app = await self.idle.get()
        try:
            return (await app.spawn(job, steps, queue=QUEUE))["task_id"]
        finally:
            self.idle.put_nowait(app)

    async def result(self, handle: Any) -> None:
        app = await self.idle.get()
        try:
            await app.await_task_result(handle)
        finally:
            self.idle.put_nowait(app)

    async def work(self) -> None:
        worker(SLOTS)


def worker(slots: int) -> None:
    app = Absurd(URL, queue_name=QUEUE)

    @app.register_task("nothing")
    def nothing(steps: int, context: Any) -> None:
        for number in range(steps):
            context.step(f"step-{number}", lambda: None)

    @app.register_task("stamp")
    def stamp(steps: int, context: Any) -> None:
        context.step("stamp", lambda: report("stamp"))

    @app.register_task("hang")
    def hang(steps: int, context: Any) -> None:
        def report_and_hang() -> None:
            report("hang")
            time.sleep(HANG_SECONDS)

        context.step("hang", report_and_hang)

    app.start_worker(concurrency=slots, poll_interval=POLL)


if __name__ == "__main__":
    main(AbsurdPeer())
