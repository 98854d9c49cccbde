"""The dashboard as an application of ASGI."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Scope, Send

from owsuper.client.page_reads import PageReader
from owsuper.dashboard import static_files, theme
from owsuper.dashboard.access import Access, Anybody, ByApplication, ByPassword, FromHere
from owsuper.dashboard.guard import Guard
from owsuper.dashboard.headers import SafeHeaders
from owsuper.dashboard.known import Registered
from owsuper.dashboard.live import Live
from owsuper.dashboard.live_feed import LiveFeed
from owsuper.dashboard.login import Login
from owsuper.dashboard.options import Options, UserOf
from owsuper.dashboard.pages import SCREENS
from owsuper.dashboard.passwords import PasswordFile
from owsuper.dashboard.sessions import Sessions
from owsuper.dashboard.templating import Templates
from owsuper.dashboard.visit import Visit
from owsuper.errors import ConfigurationError
from owsuper.version import own_version

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow

SECRET: Final = "OWSUPER_DASHBOARD_SECRET"
"""The environment variable with the secret that signs cookies."""

LEAST_SECRET: Final = 16  # characters


class Dashboard:
    """The application. It answers requests of HTTP below any path, and needs no lifespan."""

    def __init__(
        self,
        ow: OpenWorkflow,
        *,
        options: Options,
        access: Access,
        secret: str | None = None,
    ) -> None:
        self.reader = PageReader(ow._database)
        sessions = Sessions(_checked(secret or os.environ.get(SECRET) or secrets.token_urlsafe(32)))
        templates = Templates(
            screens=[each for each in SCREENS if each.title],
            has_login=isinstance(access, ByPassword),
            own_version=own_version() or "",
        )
        guard = Guard(
            ow,
            self.reader,
            options=options,
            access=access,
            sessions=sessions,
            templates=templates,
        )
        self._live = Live(LiveFeed(self.reader))
        routes: list[BaseRoute] = [
            Route("/static/{name}", static_files.answer),
            *theme.routes(guard),
        ]
        if isinstance(access, ByPassword):
            routes += Login(guard, access, self._live).routes()
        for screen in SCREENS:
            routes += screen.routes(guard)
        routes.append(Route("/live", guard.endpoint(self._live.respond), methods=["GET"]))
        # For all methods, and behind the same checks: who may not see pages learns of none.
        routes.append(Route("/{path:path}", _AnyMethod(guard.endpoint(_not_found))))
        self._app = SafeHeaders(Router(routes, redirect_slashes=False))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a lifespan has nothing to do."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._app(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self._live.close()
                self.reader.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _AnyMethod:
    """An endpoint that Starlette calls for all methods, since it is no function."""

    def __init__(self, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._endpoint(Request(scope, receive))
        await response(scope, receive, send)


async def _not_found(visit: Visit) -> Response:
    raise HTTPException(404)


def _checked(secret: str) -> str:
    if len(secret) < LEAST_SECRET:
        raise ConfigurationError(
            f"The secret that signs cookies ({SECRET}, or secret=) must have at least"
            f" {LEAST_SECRET} characters. Take random ones: openssl rand -hex 32"
        )
    return secret


def create(
    ow: OpenWorkflow,
    *,
    auth: str | os.PathLike[str] | None,
    user: UserOf | None,
    insecure: bool,
    allow_actions: bool,
    hide_values: bool,
    secret: str | None,
) -> Dashboard:
    """Return the dashboard of ``OpenWorkflow.dashboard``. Raises ConfigurationError."""
    ways = [
        name for name, given in (("auth", auth), ("user", user), ("insecure", insecure)) if given
    ]
    if len(ways) > 1:
        raise ConfigurationError(
            f"dashboard: {' and '.join(ways)} exclude each other: choose who may see it in one way"
        )
    access: Access = FromHere()
    if auth is not None:
        access = ByPassword(PasswordFile(Path(auth)))
    elif user is not None:
        access = ByApplication(user)
    elif insecure:
        access = Anybody()
    options = Options(
        allow_actions=allow_actions,
        hide_values=hide_values,
        known=Registered(ow.registry),
    )
    return Dashboard(ow, options=options, access=access, secret=secret)
