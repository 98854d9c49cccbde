"""The result of a run by long poll: the answer comes when the run ends."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from owsuper.client.handle import RunHandle
from owsuper.client.watching import look
from owsuper.core.durations import Duration, seconds
from owsuper.starlette.answers import LOOK_SECONDS, PublicErrors, answer
from owsuper.starlette.waiting import waiting

WAIT: Final = "20s"
"""Less than proxies allow a request to take: 30 s and more."""


async def result_response(
    request: Request,
    run: RunHandle[Any],
    *,
    wait: Duration = WAIT,
    public_errors: PublicErrors = (),
) -> Response:
    """Wait until ``run`` ends, at most for ``wait``; return the response that says how it is then.

    Its status code is 200 for a run that has ended, however it ended, and 202 for one that goes on:
    then the client asks again. For the JSON see :func:`status_response`. The wait ends at once when
    the client goes away, and when the server is about to stop.

    Raises RunNotFound, DatabaseError with its subclasses, also when the database goes away
    meanwhile, and InvalidDuration.
    """
    limit = max(0.0, seconds(wait))
    now = await look(run, LOOK_SECONDS)
    if not now.ended and limit:
        async with waiting(run, request.receive, patient=False) as watch:
            end = await watch.wait(limit)
        if end is not None or not watch.over:
            now = end or await look(run, LOOK_SECONDS)
    return answer(now, public_errors, status_code=200 if now.ended else 202)
