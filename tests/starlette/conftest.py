"""An application of Starlette with the endpoints of a run; the tests end runs by SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from owsuper import OpenWorkflow, OwsuperError
from owsuper.starlette import (
    events_response,
    exception_handler,
    lifespan,
    result_response,
    status_response,
)
from tests.client.conftest import Rows

MakeApp = Callable[[OpenWorkflow], Starlette]


class CardError(Exception):
    """Its message may be seen by callers."""


class CardExpired(CardError):
    """So may this one's."""


def make_app(ow: OpenWorkflow) -> Starlette:
    """The endpoints that a program writes with ``owsuper.starlette``."""

    async def status(request: Request) -> Response:
        run = ow.get_run(request.path_params["run_id"])
        return await status_response(run, public_errors=[CardError])

    async def result(request: Request) -> Response:
        run = ow.get_run(request.path_params["run_id"])
        wait = float(request.query_params.get("wait", 20))
        return await result_response(request, run, wait=wait)

    async def events(request: Request) -> Response:
        return await events_response(request, ow.get_run(request.path_params["run_id"]))

    return Starlette(
        routes=[
            Route("/{run_id}", status),
            Route("/{run_id}/result", result),
            Route("/{run_id}/events", events),
        ],
        exception_handlers={OwsuperError: exception_handler},
        lifespan=lifespan(ow),
    )


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def app(ow: OpenWorkflow) -> Starlette:
    return make_app(ow)


@pytest.fixture
def rows(conn: psycopg.Connection, schema: str) -> Rows:
    return Rows(conn, schema)
