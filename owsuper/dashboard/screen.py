"""A screen of the dashboard: an entry of the navigation, and the pages behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.routing import Route

from owsuper.dashboard.visit import Handler

if TYPE_CHECKING:
    from owsuper.dashboard.guard import Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """``pages`` are shown with GET, by path; ``forms`` take a POST, by path.

    A path may have parameters, as Starlette has them: ``/runs/{run_id}``. The first of ``pages`` is
    that of the navigation, with ``title``; None if the screen is not in it.
    """

    title: str | None
    pages: Mapping[str, Handler]
    forms: Mapping[str, Handler] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path of the first page."""
        return next(iter(self.pages))

    def routes(self, guard: Guard) -> Sequence[Route]:
        """Return the routes of all pages and forms."""
        return [
            *(
                Route(path, guard.endpoint(each), methods=["GET"])
                for path, each in self.pages.items()
            ),
            *(
                Route(path, guard.endpoint(each), methods=["POST"])
                for path, each in self.forms.items()
            ),
        ]
