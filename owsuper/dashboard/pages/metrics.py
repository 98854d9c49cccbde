"""What the database knows, for Prometheus: a page for programs, which no navigation leads to."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response

from owsuper.dashboard.pages.workers import read_workers
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.queue_state import QueueState, QueueStateQueries

_FRESH: Final = 5.0  # seconds; Prometheus asks every 15 s or so


async def show(visit: Visit) -> Response:
    """Answer with the text that Prometheus reads."""
    try:
        from owsuper.metrics import queue  # with the library of another extra
    except ModuleNotFoundError as error:
        raise HTTPException(404, str(error)) from None
    queries = QueueStateQueries(visit.schema, visit.namespace)

    def read(conn: Connection[Any]) -> tuple[QueueState, dict[str, int]]:
        return queries.state().run(conn), queries.unfinished().run(conn)

    state, unfinished = await visit.kept("metrics", _FRESH, read)
    states = [worker.state for worker in await read_workers(visit)]
    page = queue.page(state, unfinished, states)
    return Response(page, headers={"Content-Type": queue.CONTENT_TYPE})


SCREEN: Final = Screen(title=None, pages={"/metrics": show})
