"""What the code of a page gets: the request, the database, and how to answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qs, quote, urlencode

from psycopg import Connection
from starlette.datastructures import MultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from owsuper.client.page_reads import PageReader
from owsuper.dashboard.options import Options
from owsuper.dashboard.senders import Sender
from owsuper.dashboard.sessions import BrowserSession
from owsuper.dashboard.templating import Templates

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow

T = TypeVar("T")

THEME_COOKIE: Final = "owsuper_theme"
THEMES: Final = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page, by a browser that may see it.

    ``user`` is who has logged in, or None if nobody had to. ``token`` must come back with every
    form, in the field ``token``; ``Guard`` has checked it before a page gets a POST.
    """

    request: Request
    ow: OpenWorkflow
    reader: PageReader
    options: Options
    templates: Templates
    sender: Sender
    session: BrowserSession
    token: str
    user: str | None
    admitted: bool
    """Whether this browser may see runs; false at the login."""
    form: MultiDict
    """The fields of the form that was sent; empty for a GET."""

    # --- the database ---------------------------------------------------------------------

    @property
    def schema(self) -> str:
        """The schema of the tables."""
        return self.reader.schema

    @property
    def namespace(self) -> str:
        """The namespace of the runs."""
        return self.reader.namespace

    async def read(self, work: Callable[[Connection[Any]], T]) -> T:
        """Return ``work(conn)``, such as an ``Operation.run``, from a read-only transaction.

        All that is read in one call is of one moment. Raises DatabaseError, which the dashboard
        answers with a page of its own.
        """
        return await self.reader.aread(work)

    async def kept(self, key: str, seconds: float, work: Callable[[Connection[Any]], T]) -> T:
        """As ``read``, but what any page read for this ``key`` lately is used again."""
        return await self.reader.akept(key, seconds, work)

    # --- the request ----------------------------------------------------------------------

    @property
    def prefix(self) -> str:
        """The path below which the dashboard is mounted, without a slash at its end."""
        return str(self.request.scope.get("root_path", "")).rstrip("/")

    def query(self, name: str) -> str | None:
        """Return a query parameter, or None if it is missing or empty."""
        return self.request.query_params.get(name) or None

    def url(self, path: str, query: Mapping[str, object] | None = None) -> str:
        """Return the address of a page, such as ``/runs``, below the prefix.

        Parameters that are None or empty are left out; a list repeats its parameter.
        """
        shown = {
            name: value for name, value in (query or {}).items() if value not in (None, "", [], ())
        }
        address = quote(self.prefix) + quote(path, safe="/:@!$&'()*+,;=~-._")
        return address + (f"?{urlencode(shown, doseq=True)}" if shown else "")

    def field(self, name: str) -> str:
        """Return a field of the form that was sent; empty if it is missing."""
        return str(self.form.get(name, ""))

    def here(self, **changes: object) -> str:
        """Return the address of this page with some query parameters changed; None removes one."""
        query: dict[str, object] = dict(parse_qs(self.request.url.query))
        return self.url(self.path, query | changes)

    @property
    def path(self) -> str:
        """The path of this page below the prefix."""
        path = str(self.request.scope["path"])
        prefix = self.prefix
        return (path.removeprefix(prefix) if path.startswith(prefix + "/") else path) or "/"

    def own_page(self, address: str) -> str:
        """Return ``address`` if it is one of this dashboard, else that of the first page.

        Browsers read ``//host`` and ``/\\host`` as other sites.
        """
        start = self.url("/")
        is_ours = address.startswith(start) and address[1:2] not in ("/", "\\")
        return address if is_ours and address.isprintable() else start

    @property
    def theme(self) -> str:
        """The choice of this browser: ``auto``, ``light`` or ``dark``."""
        choice = self.request.cookies.get(THEME_COOKIE)
        return choice if choice in THEMES else "auto"

    # --- the answer -----------------------------------------------------------------------

    def render(self, template: str, /, *, status: int = 200, **values: Any) -> Response:
        """Return a page. The template gets ``values``, and this object as ``visit``."""
        text = self.templates.render(template, visit=self, **values)
        return HTMLResponse(text, status_code=status)

    def redirect(self, path: str, query: Mapping[str, object] | None = None) -> Response:
        """Send the browser to another page with GET, after a form."""
        return RedirectResponse(self.url(path, query), status_code=303)


Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]
"""The code of a page. It raises HTTPException(404, "...") for a page that is not there."""


def refuse(reason: str) -> HTTPException:
    """Return the error for a parameter that cannot be used: the message names it, and a remedy."""
    return HTTPException(400, reason)
