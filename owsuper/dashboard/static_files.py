"""The files that pages need: style and scripts. They are public, and hold nothing of the runs."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from owsuper.dashboard.templating import STATIC, static_version

_KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


async def answer(request: Request) -> Response:
    """Return a file. Its address has its version, so browsers keep it."""
    name = request.path_params["name"]
    kind = _KINDS.get(name.rpartition(".")[2])
    if kind is None or name not in {each.name for each in STATIC.iterdir()}:
        return PlainTextResponse("There is no such file.\n", status_code=404)
    fresh = request.query_params.get("v") == static_version(name)
    keep = "public, max-age=31536000, immutable" if fresh else "no-cache"
    return Response((STATIC / name).read_bytes(), media_type=kind, headers={"cache-control": keep})
