"""One request that waits for the end of a run: until then, or until nobody wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive

from owsuper.client import results, watching
from owsuper.client.handle import RunHandle
from owsuper.db.waits import Progress
from owsuper.starlette.closing import closing


class Waiting:
    """A request that waits for the end of the run with the id ``run_id``."""

    def __init__(
        self, run_id: str, end: asyncio.Future[Progress | None], *others: asyncio.Future[None]
    ) -> None:
        self._run_id = run_id
        self._end = end
        self._others = others

    @property
    def over(self) -> bool:
        """Whether to wait no longer: the client has gone, or the server is about to stop."""
        return any(other.done() for other in self._others)

    async def wait(self, seconds: float) -> Progress | None:
        """Return the end of the run; None if that was not within ``seconds``, or it is ``over``.

        Raises RunNotFound if the run was deleted, and what the wait for it raises.
        """
        awaited: list[asyncio.Future[Any]] = [self._end, *self._others]
        await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not self._end.done():
            return None
        if (end := self._end.result()) is None:
            raise results.not_found(self._run_id)
        return end


@asynccontextmanager
async def waiting(
    run: RunHandle[Any], receive: Receive, *, patient: bool
) -> AsyncIterator[Waiting]:
    """Begin to wait for the end of ``run``, at which the caller has just looked; stop at the end.

    ``receive`` is that of the request, whose body was read.
    """
    end = asyncio.wrap_future(watching.end_of(run, patient=patient))
    gone = asyncio.create_task(_client_has_gone(receive))
    stop = closing.future()
    try:
        yield Waiting(run.id, end, gone, stop)
    finally:
        for future in (end, gone, stop):  # with ``end``, what the client waits for
            if not future.cancel() and not future.cancelled():
                future.exception()  # else asyncio logs one that nobody waits for any more


async def _client_has_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
