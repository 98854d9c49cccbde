"""What endpoints get from a request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Header, Path

from owsuper.client.app import OpenWorkflow
from owsuper.client.handle import RunHandle
from owsuper.client.watching import look
from owsuper.errors import ConfigurationError, OwsuperError, RunNotFound
from owsuper.starlette.answers import LOOK_SECONDS
from owsuper.starlette.errors import http_error
from owsuper.workflow.definition import Workflow

O = TypeVar("O")  # noqa: E741 - as in Workflow[I, O]

RunId = Annotated[str, Path(description="The id of a run.")]
Key = Annotated[str | None, Header(min_length=1, max_length=1000)]


def run_of(
    workflow: Workflow[Any, O],
) -> Callable[[str], Coroutine[Any, Any, RunHandle[O]]]:
    """Return a dependency: the run of ``workflow`` whose id is the path parameter ``run_id``.

    Use it as ``run: Annotated[RunHandle[Receipt], Depends(run_of(order))]``. It asks the database
    once. The answer to the request is 404 if this workflow has no such run, and 503 if the
    database is away. Raises ConfigurationError for what is no workflow of an OpenWorkflow.
    """
    client_of(workflow)  # a mistake is found here

    async def find_run(run_id: RunId) -> RunHandle[O]:
        try:
            run = handle_of(workflow, run_id)
            await look(run, LOOK_SECONDS)
        except OwsuperError as error:
            if (answer := http_error(error)) is None:
                raise
            raise answer from error
        return run

    return find_run


def handle_of(workflow: Workflow[Any, O], run_id: str) -> RunHandle[O]:
    """Return a handle of the run, without asking the database. Raises RunNotFound."""
    try:
        return client_of(workflow).get_run(workflow, run_id=run_id)
    except ConfigurationError:  # no run can have this id
        raise RunNotFound(f"{run_id!r} is the id of no run", run_id=run_id) from None


def client_of(workflow: Workflow[Any, Any]) -> OpenWorkflow:
    """Return the OpenWorkflow that defines ``workflow``. Raises ConfigurationError."""
    if not isinstance(workflow, Workflow):
        raise ConfigurationError(
            f"{workflow!r:.80} is no workflow. Pass what @ow.workflow has made of a function."
        )
    client = workflow.starter
    if not isinstance(client, OpenWorkflow):
        raise ConfigurationError(f"{workflow} belongs to no OpenWorkflow")
    return client


def idempotency_key(idempotency_key: Key = None) -> str | None:
    """Return the header ``Idempotency-Key``."""
    return idempotency_key
