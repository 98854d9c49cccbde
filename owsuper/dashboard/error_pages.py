"""The pages that people get instead of the one that they wanted."""

from __future__ import annotations

import logging
from typing import Final

from psycopg.errors import InsufficientPrivilege, QueryCanceled
from starlette.exceptions import HTTPException
from starlette.responses import Response

from owsuper.client.page_reads import STATEMENT_SECONDS
from owsuper.dashboard.access import Denied
from owsuper.dashboard.visit import Visit
from owsuper.errors import ConfigurationError, DatabaseError, MigrationError, RunNotFound

_log = logging.getLogger("owsuper.dashboard")

_TITLES: Final = {
    400: "This request cannot be understood",
    403: "You may not do this",
    404: "There is no such page",
    413: "That was too much",
    415: "This request cannot be understood",
    429: "Too many tries",
    503: "Not now",
}
_RETRY_SECONDS: Final = 5
_NOT_FOUND: Final = "No page has this address. It may have been mistyped."


def answer(visit: Visit, error: Exception) -> Response:
    """Return the page about ``error``. It shows nothing of the settings; the log has the details.

    A page that may be well soon is loaded again by itself.
    """
    if isinstance(error, HTTPException):
        title = _TITLES.get(error.status_code, "That was not possible")
        standard = HTTPException(error.status_code).detail
        text = error.detail if error.detail != standard else ""
        if error.status_code == 404:
            text = text or _NOT_FOUND
        page = _page(visit, error.status_code, title, text)
        page.headers.update(error.headers or {})
        return page
    if isinstance(error, Denied):
        return _page(visit, 403, "You may not see this", str(error))
    if isinstance(error, RunNotFound):
        return _page(
            visit,
            404,
            "There is no such run",
            "No run has this id. It may have been deleted, or be in another namespace or schema.",
        )
    if isinstance(error, DatabaseError):
        return _about_database(visit, error)
    if isinstance(error, ConfigurationError):
        _log.error("a page cannot be shown: %s", error)
        return _page(visit, 503, "This dashboard cannot be used now", "Its log says what is wrong.")
    _log.error("a page failed: %r", visit.path, exc_info=error)
    return _page(
        visit, 500, "This page has failed", "That is a mistake in owsuper. The log has the details."
    )


def _about_database(visit: Visit, error: DatabaseError) -> Response:
    if isinstance(error.__cause__, QueryCanceled):
        return _page(
            visit,
            503,
            "This page takes too long",
            f"The database was given {STATEMENT_SECONDS:g} seconds, so that no page can hurt the"
            " queue. Narrow the filter, or try again when the database has less to do.",
        )
    _log.warning("a page cannot be shown: %s", error)
    if isinstance(error, MigrationError):
        return _page(
            visit,
            503,
            "The tables are missing or incomplete",
            "Start a worker, or run owsuper migrate. This page comes back by itself.",
            retry=True,
        )
    if isinstance(error.__cause__, InsufficientPrivilege):
        return _page(
            visit,
            503,
            "The database refuses",
            "The role with which this dashboard connects lacks a privilege, which the log of the"
            " dashboard names. owsuper migrate --sql ends with the grants that a role needs.",
        )
    return _page(
        visit,
        503,
        "The database does not answer",
        "Runs and their results are safe; workers wait for it, too. This page comes back by"
        " itself.",
        retry=True,
    )


def _page(visit: Visit, status: int, title: str, text: str, *, retry: bool = False) -> Response:
    reloads = retry and visit.request.method in ("GET", "HEAD")
    page = visit.render(
        "error.html",
        status=status,
        title=title,
        text=text,
        code=status,
        retry_seconds=_RETRY_SECONDS if reloads else None,
    )
    if retry:
        page.headers["retry-after"] = str(_RETRY_SECONDS)
    return page
