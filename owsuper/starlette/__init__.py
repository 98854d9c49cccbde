"""Starlette: connections that live as long as the application, and answers about runs.

An application of FastAPI uses these names from ``owsuper.fastapi``.
"""

from owsuper import extras

try:
    from owsuper.starlette.answers import status_response
    from owsuper.starlette.errors import exception_handler
    from owsuper.starlette.events import events_response
    from owsuper.starlette.lifespan import lifespan
    from owsuper.starlette.results import result_response
except ModuleNotFoundError as error:
    raise extras.missing(error, "owsuper.starlette", "owsuper[starlette]") from error

__all__ = [
    "events_response",
    "exception_handler",
    "lifespan",
    "result_response",
    "status_response",
]
