"""Procrastinate: asynchronous jobs, LISTEN, a pool with a connection for each slot."""

from __future__ import annotations

import asyncio
from typing import Any

from procrastinate import App, PsycopgConnector
from protocol import CALLERS, HANG_SECONDS, SLOTS, URL, main, report

app = App(connector=PsycopgConnector(conninfo=URL, min_size=CALLERS, max_size=max(CALLERS, SLOTS)))


@app.task(name="nothing")
async def nothing() -> None:
    pass


@app.task(name="stamp")
async def stamp() -> None:
    report("stamp")


@app.task(name="hang")
async def hang() -> None:
    report("hang")
    await asyncio.sleep(HANG_SECONDS)


class Procrastinate:
    async def setup(self) -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    async def backlog(self, count: int, steps: int) -> None:
        async with app.open_async():
            await nothing.batch_defer_async(*({} for _ in range(count)))

    async def connect(self) -> None:
        await app.open_async()

    async def start(self, job: str, steps: int) -> Any:
        return await app.tasks[job].defer_async()

    async def result(self, handle: Any) -> None:
        raise NotImplementedError

    async def work(self) -> None:
        async with app.open_async():
            await app.run_worker_async(concurrency=SLOTS, fetch_job_polling_interval=1.0)


if __name__ == "__main__":
    main(Procrastinate())
