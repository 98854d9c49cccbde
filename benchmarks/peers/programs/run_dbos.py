"""DBOS: queues polled every 50 ms, as are results; workflows and steps run in its threads."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dbos import DBOS, DBOSClient, EnqueueOptions
from protocol import CALLERS, HANG_SECONDS, SLOTS, URL, main, report

POLL = 0.05
QUEUE = "bench"
DATABASE = URL.replace("postgresql:", "postgresql+psycopg:", 1)


@DBOS.step()
def nothing_step() -> None:
    pass


@DBOS.step()
def report_step(job: str) -> None:
    report(job)
    if job == "hang":
        time.sleep(HANG_SECONDS)


@DBOS.workflow()
def nothing(steps: int) -> None:
    for _ in range(steps):
        nothing_step()


@DBOS.workflow()
def stamp(steps: int) -> None:
    report_step("stamp")


@DBOS.workflow()
def hang(steps: int) -> None:
    report_step("hang")


class Dbos:
    client: DBOSClient

    def _launch(self) -> None:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": DATABASE,
                "log_level": "ERROR",
                "application_version": "1",
                "run_admin_server": False,
                "sys_db_pool_size": SLOTS + 4,
                "max_executor_threads": 2 * SLOTS,
            }
        )
        DBOS.launch()
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS.register_queue(QUEUE, worker_concurrency=SLOTS, polling_interval_sec=POLL)

    async def setup(self) -> None:
        await asyncio.to_thread(self._launch)

    async def backlog(self, count: int, steps: int) -> None:
        await self.connect()
        options = _options("nothing")
        with ThreadPoolExecutor(CALLERS) as pool:
            for _ in pool.map(lambda _: self.client.enqueue(options, steps), range(count)):
                pass

    async def connect(self) -> None:
        self.client = DBOSClient(
            system_database_url=DATABASE,
            system_database_pool_size=CALLERS,
            application_name="bench",
        )

    async def start(self, job: str, steps: int) -> Any:
        return await self.client.enqueue_async(_options(job), steps)

    async def result(self, handle: Any) -> None:
        await handle.get_result(polling_interval_sec=POLL)

    async def work(self) -> None:
        await asyncio.to_thread(self._launch)
        await asyncio.Event().wait()


def _options(job: str) -> EnqueueOptions:
    return {"workflow_name": job, "queue_name": QUEUE, "app_version": "1"}


if __name__ == "__main__":
    main(Dbos())
