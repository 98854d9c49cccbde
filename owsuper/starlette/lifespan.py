"""The connections of an application live as long as the application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

from owsuper.client import watching
from owsuper.client.app import OpenWorkflow
from owsuper.errors import ConfigurationError, DatabaseError
from owsuper.starlette.closing import closing

_CONNECT_SECONDS: Final = 5.0

_log = logging.getLogger("owsuper.starlette")


def lifespan(*clients: OpenWorkflow) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan for Starlette or FastAPI: ``FastAPI(lifespan=lifespan(ow))``.

    When the application starts, each client connects, so that the first request need not. When
    it stops, each client closes its connections, after long polls and streams of events were
    ended. In a lifespan of your own: ``async with lifespan(ow)(app): yield``.

    A database that is away is no error: the log warns, and requests are answered with 503 until it
    is back. Raises ConfigurationError for what is no OpenWorkflow, and at the start for a setting
    that cannot be used.
    """
    for client in clients:
        if not isinstance(client, OpenWorkflow):
            raise ConfigurationError(
                f"lifespan: {client!r:.80} is no OpenWorkflow. Pass those with the workflows:"
                " FastAPI(lifespan=lifespan(ow))."
            )

    @asynccontextmanager
    async def connected(app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for client in clients:
                stack.push_async_callback(client.aclose)
                try:
                    await watching.connect(client, _CONNECT_SECONDS)
                except DatabaseError as error:
                    _log.warning("the application starts without its database: %s", error)
            with closing.noticed():
                yield

    return connected
