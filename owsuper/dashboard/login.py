"""Logging in with a password, and out."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from owsuper.client.call_threads import CallThreads
from owsuper.dashboard.access import ByPassword
from owsuper.dashboard.live import Live
from owsuper.dashboard.sessions import BrowserSession
from owsuper.dashboard.slowing import Slowing
from owsuper.dashboard.visit import Visit

if TYPE_CHECKING:
    from owsuper.dashboard.guard import Guard

_log = logging.getLogger("owsuper.dashboard")

# A try takes 16 MB and a processor for a moment: many at once must not stop the process.
_TRIES_AT_ONCE: Final = 2


class Login:
    """The pages ``/login`` and ``/logout``."""

    def __init__(self, guard: Guard, access: ByPassword, live: Live) -> None:
        self._guard = guard
        self._live = live
        self._passwords = access.passwords
        self._slowing = Slowing()
        self._threads = CallThreads(_TRIES_AT_ONCE)

    def routes(self) -> list[Route]:
        """Return the routes of both pages."""
        make = self._guard.endpoint
        return [
            Route("/login", make(self._show, public=True), methods=["GET"]),
            Route("/login", make(self._enter, public=True), methods=["POST"]),
            Route("/logout", make(self._leave, public=True), methods=["POST"]),
        ]

    async def _show(self, visit: Visit) -> Response:
        expired = visit.query("expired") is not None
        message = "Your session has ended. Log in again." if expired else None
        return self._form(visit, message, next_page=visit.query("next") or "")

    async def _enter(self, visit: Visit) -> Response:
        name, next_page = visit.field("name"), visit.field("next")
        address = visit.sender.address
        if (pause := self._slowing.pause(address, name)) > 0:
            raise HTTPException(
                429,
                f"There were too many wrong passwords. Try again in {math.ceil(pause)} seconds.",
                headers={"retry-after": str(math.ceil(pause))},
            )
        # Counted before it is known: else tries at the same moment would all be free.
        self._slowing.failed(address, name)
        password = visit.field("password")
        fingerprint = await asyncio.shield(
            self._threads.run(lambda: self._passwords.verify(name, password))
        )
        if fingerprint is None:
            _log.warning("login refused: user %r from %s", name[:100], address or "unknown")
            return self._form(visit, "Name or password is wrong.", next_page=next_page, status=401)
        self._slowing.succeeded(address, name)
        _log.info("login: user %r from %s", name, address or "unknown")
        response = RedirectResponse(visit.own_page(next_page), status_code=303)
        self._guard.keep(visit, BrowserSession.new(name, fingerprint), response)
        return response

    async def _leave(self, visit: Visit) -> Response:
        self._live.leave(visit.session.id)
        response = visit.redirect("/login")
        self._guard.keep(visit, None, response)
        return response

    def _form(
        self, visit: Visit, message: str | None, *, next_page: str, status: int = 200
    ) -> Response:
        return visit.render("login.html", status=status, message=message, next_page=next_page)
