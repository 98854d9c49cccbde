"""Forms that a browser sends: read within limits, and only if they are our own."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request

from owsuper.dashboard.senders import Sender
from owsuper.dashboard.sessions import BrowserSession, Sessions

LONGEST_FORM: Final = 4 << 20
"""Bytes of a form that is accepted."""

_MOST_FIELDS: Final = 5000
_KIND: Final = "application/x-www-form-urlencoded"
_FOREIGN: Final = (
    "This form was not sent by a page of this dashboard, or the page is too old. Open the page"
    " again, and send the form from there."
)


async def read_form(
    request: Request, sender: Sender, session: BrowserSession | None, sessions: Sessions
) -> MultiDict:
    """Return the fields of a form that a page of ours has sent. Raises HTTPException.

    Two things show that: the browser says from which site it comes, and the form has the token that
    only our pages know. The token may also come in the header X-Owsuper-Token.
    """
    if not _is_same_site(request, sender):
        raise HTTPException(403, _FOREIGN)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _KIND:
        raise HTTPException(415, f"A form must be sent as {_KIND}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            raise HTTPException(413, f"A form may have {LONGEST_FORM >> 20} MB at most.")
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise HTTPException(400, "The form is not UTF-8, or has too many fields.") from None
    form = MultiDict(fields)
    token = request.headers.get("x-owsuper-token") or str(form.get("token", ""))
    if session is None or not sessions.is_token(session, token):
        raise HTTPException(403, _FOREIGN)
    return form


def _is_same_site(request: Request, sender: Sender) -> bool:
    """Return whether the browser has sent the form from a page of this host.

    Only the host is compared: a proxy that ends TLS may not say which scheme the browser uses. A
    program that is no browser sends no Origin; it needs the token all the same.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
    return urlsplit(origin).netloc.lower() == sender.host.lower() != ""
