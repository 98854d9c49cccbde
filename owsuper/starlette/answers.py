"""What a run looks like in JSON, and the response that says so."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from owsuper.client import models
from owsuper.client.handle import RunHandle
from owsuper.client.watching import look
from owsuper.core import codec
from owsuper.core.model import RunStatus
from owsuper.db.waits import Progress

LOOK_SECONDS: Final = 5.0
"""How long a request waits for the database to say how a run is. Clients ask again."""

NO_STORE: Final = {"Cache-Control": "no-store"}

PublicErrors = Collection[type[BaseException]]
"""The exceptions whose messages callers may read."""

_HIDDEN: Final = {"name": "RunFailed", "message": "The run failed."}


async def status_response(run: RunHandle[Any], *, public_errors: PublicErrors = ()) -> Response:
    """Return the response that says how ``run`` is now.

    The JSON has the members ``id``, ``workflow``, ``status``, ``result`` and ``error``. An
    ``error`` has a ``name`` and a ``message``: those of the exception if it is one of
    ``public_errors`` or a subclass, and otherwise "RunFailed" and "The run failed.", because the
    messages of other exceptions are not meant for strangers.

    Raises RunNotFound and DatabaseError with its subclasses.
    """
    return answer(await look(run, LOOK_SECONDS), public_errors)


def answer(run: Progress, public_errors: PublicErrors, *, status_code: int = 200) -> Response:
    """Return the response for a run that was read."""
    return JSONResponse(body(run, public_errors), status_code=status_code, headers=NO_STORE)


def body(run: Progress, public_errors: PublicErrors) -> dict[str, Any]:
    """Return a run as JSON. Raises InvalidData for a result that cannot be read."""
    status = models.current_status(run.status)
    completed, failed = status is RunStatus.COMPLETED, status is RunStatus.FAILED
    return {
        "id": run.run_id,
        "workflow": run.workflow_name,
        "status": status.value,
        "result": codec.decode(run.output, path="result") if completed else None,
        "error": _error(run.error, public_errors) if failed else None,
    }


def _error(text: str | None, public_errors: PublicErrors) -> dict[str, Any]:
    error = models.error_from_text(text)
    if error.name not in _names(public_errors):
        return _HIDDEN
    return {"name": error.name, "message": error.message}


def _names(errors: PublicErrors) -> set[str]:
    """Return the names of these classes and their subclasses: only the name of one is stored."""
    names, left = set[str](), list(errors)
    while left:
        each = left.pop()
        names.add(each.__name__)
        left.extend(each.__subclasses__())
    return names
