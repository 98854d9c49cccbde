"""The errors of owsuper as answers to a request."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from owsuper.client import failures
from owsuper.errors import (
    DatabaseUnreachable,
    DataError,
    EmbeddedUnavailable,
    MigrationError,
    ResultTimeout,
    RunExists,
    RunNotCancelable,
    RunNotFound,
    RunNotRerunnable,
    RunNotRetryable,
    RunNotWakeable,
)

_OUTAGES: Final = (DatabaseUnreachable, EmbeddedUnavailable, MigrationError)
_RETRY_AFTER: Final = {"Retry-After": "1"}  # seconds
_SILENCE: Final = 10.0  # seconds between two messages about the database
_FROM_CALLERS: Final = ("input", "data")  # the beginnings of the paths in what callers pass

_log = logging.getLogger("owsuper.starlette")
_logged_at = -_SILENCE


def exception_handler(request: Request, error: Exception) -> Response:
    """Answer with the status that fits an OwsuperError, for endpoints of your own.

    Use it with ``app.add_exception_handler(OwsuperError, exception_handler)``. The status is 404
    for RunNotFound, 409 for RunExists, RunNotCancelable, RunNotRetryable, RunNotRerunnable and
    RunNotWakeable, 422 for an input that does not fit, 503 while the database is away, and 504 for
    ResultTimeout. Any other error is raised again.
    """
    answer = http_error(error)
    if answer is None:
        raise error
    content = {"detail": answer.detail}
    return JSONResponse(content, status_code=answer.status_code, headers=answer.headers)


def http_error(error: Exception) -> HTTPException | None:
    """Return the answer that fits an error; None for an error that is a fault of the program.

    What the answer says is safe to be seen by strangers. The log gets the reason of an outage.
    """
    if isinstance(error, RunNotFound):
        return HTTPException(404, "There is no such run.")
    if isinstance(error, RunNotCancelable | RunNotRetryable):
        return HTTPException(409, str(error))
    if isinstance(error, RunExists):  # its message names another workflow
        return HTTPException(409, "Another run has this id.")
    if isinstance(error, RunNotRerunnable | RunNotWakeable):  # theirs name steps and child runs
        return HTTPException(409, f"The run is {error.status}, which does not allow this.")
    if isinstance(error, ResultTimeout):
        return HTTPException(504, "The run has not ended in time. It goes on.")
    if isinstance(error, DataError) and error.path.startswith(_FROM_CALLERS):
        return HTTPException(422, str(error))
    if isinstance(error, _OUTAGES) or failures.may_pass(error):
        _log_outage(error)
        return HTTPException(503, "The database is not available. Try again.", _RETRY_AFTER)
    return None


def _log_outage(error: Exception) -> None:
    global _logged_at
    now = time.monotonic()
    if now > _logged_at + _SILENCE:
        _logged_at = now
        _log.warning("requests are answered with 503: %s", error)
