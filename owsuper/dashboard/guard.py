"""Decides about each request: who sent it, and whether its form is ours.

All pages are endpoints that ``Guard.endpoint`` makes, so no page can forget a check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.datastructures import ImmutableMultiDict, MultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from owsuper.client.page_reads import PageReader
from owsuper.dashboard import error_pages
from owsuper.dashboard.access import Access, Denied, LoginNeeded
from owsuper.dashboard.forms import read_form
from owsuper.dashboard.options import Options
from owsuper.dashboard.senders import sender_of
from owsuper.dashboard.sessions import KEPT, BrowserSession, Sessions
from owsuper.dashboard.templating import Templates
from owsuper.dashboard.visit import Handler, Visit, refuse

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow

_OPEN_IT: Final = "A page of another site has asked for this page. Open it by its own address."


class Guard:
    """Makes endpoints of the code of pages, for those who may see them."""

    def __init__(
        self,
        ow: OpenWorkflow,
        reader: PageReader,
        *,
        options: Options,
        access: Access,
        sessions: Sessions,
        templates: Templates,
    ) -> None:
        self._ow = ow
        self._reader = reader
        self._options = options
        self._access = access
        self._sessions = sessions
        self._templates = templates

    def endpoint(
        self, handler: Handler, *, public: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint of Starlette. A ``public`` page may be seen before the login."""

        async def answer(request: Request) -> Response:
            session, expired = self._sessions.read(request.cookies.get(self._sessions.cookie))
            visit = self._visit(request, session or BrowserSession.new())
            try:
                if _is_part_of_another_site(request):
                    raise Denied(_OPEN_IT)
                if not public:
                    user = self._access.user(request, visit.sender, session)
                    visit = replace(visit, user=user, admitted=True)
                if "\0" in visit.path:
                    raise HTTPException(404)
                _check_storable(request.query_params)
                if request.method not in ("GET", "HEAD"):
                    form = await read_form(request, visit.sender, session, self._sessions)
                    _check_storable(form)
                    visit = replace(visit, form=form)
                response = await handler(visit)
            except LoginNeeded:
                # Its cookie stays: else a page in the background would take from the browser what
                # tells the login that a session has ended.
                return _to_login(visit, expired=expired)
            except Exception as error:
                response = error_pages.answer(visit, error)
            if session is None and "set-cookie" not in response.headers:
                self.keep(visit, visit.session, response)
            return response

        return answer

    def keep(self, visit: Visit, session: BrowserSession | None, response: Response) -> None:
        """Have the browser keep this session, or forget its session.

        Lax: with Strict, a link to a run in a mail or a chat would lead to the login. GET changes
        nothing, and forms have their token.
        """
        response.set_cookie(
            self._sessions.cookie,
            "" if session is None else self._sessions.write(session),
            max_age=0 if session is None else KEPT,
            path=quote(visit.prefix) + "/",
            secure=visit.sender.secure,
            httponly=True,
            samesite="lax",
        )

    def _visit(self, request: Request, session: BrowserSession) -> Visit:
        return Visit(
            request=request,
            ow=self._ow,
            reader=self._reader,
            options=self._options,
            templates=self._templates,
            sender=sender_of(request, self._access.trusted),
            session=session,
            token=self._sessions.token(session),
            user=None,
            admitted=False,
            form=MultiDict(),
        )


def _is_part_of_another_site(request: Request) -> bool:
    """Return whether a page of another site has asked for this one, other than by a link.

    Such a page cannot read the answer. But where nobody logs in, it could ask again and again, to
    keep the database at work. Browsers say so where they can trust the line: over HTTPS, and on
    this machine.
    """
    if request.headers.get("sec-fetch-site") != "cross-site":
        return False
    is_link = request.headers.get("sec-fetch-mode") == "navigate"
    return not is_link or request.headers.get("sec-fetch-dest", "document") != "document"


def _check_storable(given: ImmutableMultiDict[Any, Any]) -> None:
    """Raise HTTPException for a text that no statement can be given. No browser sends one."""
    for name, value in given.multi_items():
        if "\0" in name or "\0" in value:
            raise refuse(f"{name[:60]}: has a character that PostgreSQL cannot hold; remove it")


def _to_login(visit: Visit, *, expired: bool) -> Response:
    """Send a person to the login, and from there back here; tell a program that it must log in."""
    request = visit.request
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse("Log in first.\n", status_code=401)
    back = visit.here() if request.method in ("GET", "HEAD") else visit.url("/")
    return visit.redirect("/login", {"next": back, "expired": "1" if expired else None})
