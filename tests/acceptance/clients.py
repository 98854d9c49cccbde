"""Callers that start runs and wait for their results during outages of the database."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from owsuper import OpenWorkflow
from owsuper.errors import DatabaseUnreachable
from tests.acceptance.executions import TIMEOUT
from tests.acceptance.tables import Tables

SYNC, ASYNC = "linked", "linked-async"
LONGEST_WAIT = 3 * TIMEOUT


class Clients:
    """Eight callers in one process. Each starts a run, waits for it, and starts the next.

    Four are sync and four async. The first two of each start runs with idempotency keys, and
    repeat the call with the same key after an error; the third starts several runs at once; the
    fourth starts one at a time. Any other error fails the test when the context ends.
    """

    def __init__(self, url: str, schema: str, shape: dict[str, Any]) -> None:
        self.started: list[str] = []
        """The ids of all runs that ``run`` or ``run_many`` returned."""
        self.refusals = 0
        """How often ``run`` or ``run_many`` raised DatabaseUnreachable."""
        self._ow = OpenWorkflow(url, schema=schema)
        self._shape = shape
        self._numbers = itertools.count()
        self._keys: dict[str, str] = {}
        self._results: dict[str, list[str]] = {}
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(5, thread_name_prefix="client")
        self._callers: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._callers = [self._threads.submit(self._call, number) for number in range(4)]
        self._callers.append(self._threads.submit(asyncio.run, self._call_async()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if error is not None:
            self._ow.close()  # ends the waits
        failures = [caller.exception(LONGEST_WAIT) for caller in self._callers]
        self._threads.shutdown()
        self._ow.close()
        if error is None and (raised := [each for each in failures if each is not None]):
            raise BaseExceptionGroup("callers failed", raised)

    def check(self, tables: Tables) -> None:
        """Check that every run was started once and returned its result.

        For the end of the test, when all runs have ended.
        """
        assert self.started
        assert self._results.keys() == set(self.started)
        stored = {run.id: run.output for run in tables.runs(self.started)}
        assert stored == self._results
        assert len(set(self._keys.values())) == len(self._keys)
        twice = tables.query(
            """
            SELECT input->'number', count(*) FROM {schema}.workflow_runs
            WHERE input ? 'number' GROUP BY 1 HAVING count(*) > 1
            """
        )
        assert twice == []

    # --- what callers do -------------------------------------------------------------------

    def _call(self, number: int) -> None:
        while not self._over.is_set():
            workflow = (SYNC, ASYNC)[number % 2]
            key = uuid4().hex if number < 2 else None
            inputs = self._inputs(3 if number == 2 else 1)
            while True:
                try:
                    if len(inputs) > 1:
                        handles = self._ow.run_many(workflow, inputs)
                    else:
                        handles = [self._ow.run_workflow(workflow, inputs[0], idempotency_key=key)]
                except DatabaseUnreachable:
                    self.refusals += 1
                    self._over.wait(0.05)
                    if key is None:
                        break  # whether it is stored is unknown
                else:
                    self._note([handle.id for handle in handles], key)
                    for handle in handles:
                        self._results[handle.id] = handle.result(LONGEST_WAIT)
                    break

    async def _call_async(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(self._acall(number))

    async def _acall(self, number: int) -> None:
        while not self._over.is_set():
            workflow = (SYNC, ASYNC)[number % 2]
            key = uuid4().hex if number < 2 else None
            inputs = self._inputs(3 if number == 2 else 1)
            while True:
                try:
                    if len(inputs) > 1:
                        handles = await self._ow.arun_many(workflow, inputs)
                    else:
                        handles = [
                            await self._ow.arun_workflow(workflow, inputs[0], idempotency_key=key)
                        ]
                except DatabaseUnreachable:
                    self.refusals += 1
                    await asyncio.sleep(0.05)
                    if key is None:
                        break
                else:
                    self._note([handle.id for handle in handles], key)
                    for handle in handles:
                        self._results[handle.id] = await handle.aresult(LONGEST_WAIT)
                    break

    def _inputs(self, count: int) -> list[dict[str, Any]]:
        return [{**self._shape, "number": next(self._numbers)} for _ in range(count)]

    def _note(self, run_ids: Sequence[str], key: str | None) -> None:
        self.started += run_ids
        if key is not None:
            [self._keys[key]] = run_ids
