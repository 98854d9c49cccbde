"""Dark or light: the choice of a browser, kept in a cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from owsuper.dashboard.visit import THEME_COOKIE, THEMES, Visit, refuse

if TYPE_CHECKING:
    from owsuper.dashboard.guard import Guard

_YEAR: Final = 365 * 24 * 3600


def routes(guard: Guard) -> list[Route]:
    """Return the route that stores a choice."""
    return [Route("/theme", guard.endpoint(_store, public=True), methods=["POST"])]


async def _store(visit: Visit) -> Response:
    choice = visit.field("theme")
    if choice not in THEMES:
        raise refuse(f"There is no theme {choice!r:.40}: it is {', '.join(THEMES)}.")
    response = RedirectResponse(visit.own_page(visit.field("back")), status_code=303)
    response.set_cookie(
        THEME_COOKIE,
        choice,
        max_age=_YEAR,
        path=quote(visit.prefix) + "/",
        secure=visit.sender.secure,
        httponly=True,
        samesite="lax",
    )
    return response
