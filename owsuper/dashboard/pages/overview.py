"""The screen Overview."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit


async def show(visit: Visit) -> Response:
    """Show the screen."""
    return visit.render("overview.html")


SCREEN: Final = Screen(title="Overview", pages={"/": show})
