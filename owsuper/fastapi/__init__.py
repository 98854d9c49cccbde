"""FastAPI: a router for a workflow, and what endpoints of your own need.

``workflow_router`` has endpoints that start runs, wait for results and send signals. ``run_of``
gives your endpoints the run whose id is in their path. The other names are those of
``owsuper.starlette``.
"""

from owsuper import extras

try:
    from owsuper.fastapi.dependencies import run_of
    from owsuper.fastapi.router import workflow_router
    from owsuper.starlette import (
        events_response,
        exception_handler,
        lifespan,
        result_response,
        status_response,
    )
except ModuleNotFoundError as error:
    raise extras.missing(error, "owsuper.fastapi", "owsuper[fastapi]") from error

__all__ = [
    "events_response",
    "exception_handler",
    "lifespan",
    "result_response",
    "run_of",
    "status_response",
    "workflow_router",
]
