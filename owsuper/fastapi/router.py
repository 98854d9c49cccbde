"""A router with endpoints for the runs of one workflow."""

# Without postponed annotations: those of the endpoints have local names, and FastAPI evaluates them
# by the names of the module.

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias, cast
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request, Response
from fastapi.routing import APIRoute

from owsuper.client.new_run import check_key
from owsuper.client.watching import look
from owsuper.core import codec
from owsuper.core.attributes import check_attributes
from owsuper.core.durations import Duration, seconds
from owsuper.errors import ConfigurationError, NotSerializable, OwsuperError
from owsuper.fastapi import bodies
from owsuper.fastapi.bodies import RunBody, StartedBody
from owsuper.fastapi.dependencies import RunId, client_of, handle_of, idempotency_key
from owsuper.starlette import events_response, result_response, status_response
from owsuper.starlette.answers import LOOK_SECONDS, PublicErrors
from owsuper.starlette.errors import http_error
from owsuper.starlette.results import WAIT
from owsuper.workflow.definition import Workflow

_SIGNAL: Final = re.compile(r"[\w.-]+")
_Answers: TypeAlias = dict[int | str, dict[str, Any]]
_Attributes: TypeAlias = Mapping[str, str] | None
_NOT_FOUND: Final[_Answers] = {404: {"description": "There is no such run"}}


def workflow_router(
    workflow: Workflow[Any, Any],
    *,
    start: bool = True,
    signals: Mapping[str, Any] | None = None,
    key: Callable[..., str | Awaitable[str | None] | None] | None = idempotency_key,
    attributes: Callable[..., _Attributes | Awaitable[_Attributes]] | None = None,
    public_errors: PublicErrors = (),
    longest_wait: Duration = WAIT,
) -> APIRouter:
    """Return a router for the runs of ``workflow``, and of no other workflow.

    Include it with a prefix, and with dependencies that say who may use it:
    ``app.include_router(workflow_router(order), prefix="/orders", dependencies=[...])``.

    ========================================  ====================================================
    ``POST /orders``                          starts a run; the body is the input
    ``GET  /orders/{run_id}``                 the run as it is now
    ``GET  /orders/{run_id}/result?wait=20``  the run when it has ended, at the latest after 20 s
    ``GET  /orders/{run_id}/events``          server-sent events: ``status``, and then ``end``
    ``POST /orders/{run_id}/signals/NAME``    sends the signal ``NAME:run_id``; the body is its data
    ========================================  ====================================================

    With ``start=False`` no runs are started. ``signals`` has the signals that may be sent, and the
    types of their data; None is no data. ``key`` is a dependency that returns the idempotency key
    of a start or a signal, by default the header ``Idempotency-Key``; None ignores the header.
    ``attributes`` is a dependency that returns the attributes of a run that is started, as
    :meth:`Workflow.run` takes them: ``{"tenant": user.tenant}``; by default, it has none.
    ``public_errors`` are the exceptions whose messages callers may read, see
    :func:`status_response`. ``longest_wait`` limits ``wait``, of which it is the default.

    Raises ConfigurationError for a workflow, a signal or a type that cannot be used.
    """
    routes = _Routes(workflow, key or _no_key, _checked_errors(public_errors))
    if attributes is not None and not callable(attributes):
        raise ConfigurationError(
            f"attributes: must be a dependency that returns them, not {attributes!r:.60}"
        )
    if start:
        routes.add_start(attributes or _no_attributes)
    elif attributes is not None:
        raise ConfigurationError("attributes: leave them out, as start=False starts no runs")
    routes.add_reads(_checked_wait(longest_wait))
    for name, type_ in _checked_signals(signals).items():
        routes.add_signal(name, type_)
    return routes.router


class _Routes:
    def __init__(
        self,
        workflow: Workflow[Any, Any],
        key: Callable[..., Any],
        public_errors: PublicErrors,
    ) -> None:
        self.router = APIRouter(route_class=_Route)
        self._workflow = workflow
        self._client = client_of(workflow)
        self._key = Depends(key)
        self._public_errors = public_errors

    def add_start(self, attributes: Callable[..., Any]) -> None:
        workflow = self._workflow
        accepted = bodies.described_as(workflow.input_type)
        described = Depends(attributes)

        async def begin(
            request: Request, response: Response, value: Any, key: str | None, attributes: Any
        ) -> Any:
            try:
                run = await workflow.arun(
                    value, idempotency_key=_usable(key), attributes=_allowed(attributes)
                )
            except NotSerializable as error:
                raise bodies.invalid(error) from None
            # Relative, because a proxy may have changed the beginning of the path.
            last = quote(request.scope["path"].rpartition("/")[2], safe=":")
            response.headers["Location"] = f"./{last}/{run.id}" if last else f"./{run.id}"
            return {"id": run.id, "workflow": workflow.name}

        async def start(
            request: Request,
            response: Response,
            key: Annotated[str | None, self._key],
            attributes: Annotated[Any, described],
            input: Annotated[Any, accepted, Body()] = None,
        ) -> Any:
            value = bodies.checked(input, workflow.input_type, "input")
            return await begin(request, response, value, key, attributes)

        async def start_without_input(
            request: Request,
            response: Response,
            key: Annotated[str | None, self._key],
            attributes: Annotated[Any, described],
        ) -> Any:
            return await begin(request, response, None, key, attributes)

        self.router.add_api_route(
            "",
            start if workflow.takes_input else start_without_input,
            methods=["POST"],
            status_code=202,
            name=f"start {workflow.name}",
            response_model=StartedBody,
            openapi_extra=_required(workflow.input_type),
        )

    def add_reads(self, longest_wait: float) -> None:
        workflow, public_errors = self._workflow, self._public_errors

        async def status(run_id: RunId) -> Response:
            run = handle_of(workflow, run_id)
            return await status_response(run, public_errors=public_errors)

        async def result(
            request: Request,
            run_id: RunId,
            wait: Annotated[
                float, Query(ge=0, allow_inf_nan=False, description="Seconds.")
            ] = longest_wait,
        ) -> Response:
            run, wait = handle_of(workflow, run_id), min(wait, longest_wait)
            return await result_response(request, run, wait=wait, public_errors=public_errors)

        async def events(request: Request, run_id: RunId) -> Response:
            run = handle_of(workflow, run_id)
            return await events_response(request, run, public_errors=public_errors)

        model = cast(Any, RunBody)[bodies.described(workflow.output_type)]
        self._add_get("/{run_id}", status, "status of", response_model=model)
        self._add_get(
            "/{run_id}/result", result, "result of", {202: {"model": model}}, response_model=model
        )
        stream: _Answers = {
            200: {"content": {"text/event-stream": {}}},
            204: {"description": "An EventSource connects after the end"},
        }
        self._add_get("/{run_id}/events", events, "events of", stream, response_model=None)

    def _add_get(
        self,
        path: str,
        endpoint: Callable[..., Any],
        what: str,
        answers: _Answers | None = None,
        *,
        response_model: Any,
    ) -> None:
        self.router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            name=f"{what} {self._workflow.name}",
            response_model=response_model,
            responses={**_NOT_FOUND, **(answers or {})},
        )

    def add_signal(self, name: str, type_: Any) -> None:
        if not isinstance(name, str) or not _SIGNAL.fullmatch(name):
            raise ConfigurationError(
                f"signals: {name!r} cannot be part of a path. Use letters, digits and . - _"
            )
        codec.check_type(type_, f"signals[{name!r}]")
        workflow, client = self._workflow, self._client
        accepted = bodies.described_as(type_)

        async def deliver(run_id: str, data: Any, key: str | None) -> Response:
            now = await look(handle_of(workflow, run_id), LOOK_SECONDS)
            if now.ended:
                raise HTTPException(409, "The run has ended.")
            key = _usable(key)
            try:
                # The run with this id may have continued as another one, which waits now.
                await client.asend_signal(
                    f"{name}:{now.run_id}", data, idempotency_key=key, buffer=True
                )
            except NotSerializable as error:
                raise bodies.invalid(error) from None
            return Response(status_code=202)

        async def signal(
            run_id: RunId,
            key: Annotated[str | None, self._key],
            data: Annotated[Any, accepted, Body()] = None,
        ) -> Response:
            return await deliver(run_id, bodies.checked(data, type_, "data"), key)

        async def signal_without_data(
            run_id: RunId, key: Annotated[str | None, self._key]
        ) -> Response:
            return await deliver(run_id, None, key)

        self.router.add_api_route(
            f"/{{run_id}}/signals/{name}",
            signal_without_data if type_ is None else signal,
            methods=["POST"],
            status_code=202,
            name=f"signal {name} to {workflow.name}",
            openapi_extra=_required(type_),
            responses={**_NOT_FOUND, 409: {"description": "The run has ended"}},
        )


class _Route(APIRoute):
    """A route that answers the errors of owsuper with the status that fits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_and_explain(request: Request) -> Response:
            try:
                return await handle(request)
            except OwsuperError as error:
                if (answer := http_error(error)) is None:
                    raise
                raise answer from error

        return handle_and_explain


def _required(type_: Any) -> dict[str, Any] | None:
    """Return what OpenAPI says of a body that cannot be left out, as null is no such value."""
    return None if bodies.is_optional(type_) else {"requestBody": {"required": True}}


def _checked_signals(signals: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if signals is None:
        return {}
    if not isinstance(signals, Mapping):
        raise ConfigurationError(
            'signals: must be a dict of names and types, such as {"approve": Approval, "nudge":'
            f" None}}, not {signals!r:.60}"
        )
    return signals


def _checked_errors(errors: PublicErrors) -> PublicErrors:
    given: Any = errors
    if isinstance(given, Iterable):
        checked = tuple(given)
        if all(isinstance(each, type) and issubclass(each, BaseException) for each in checked):
            return checked
    raise ConfigurationError(
        f"public_errors: must be a list of exceptions, such as [OutOfStock], not {given!r:.60}"
    )


def _checked_wait(longest: Duration) -> float:
    wait = seconds(longest)
    if wait < 0:
        raise ConfigurationError(f"longest_wait: must not be negative, and {longest!r} is")
    return wait


def _usable(key: str | None) -> str | None:
    if key is not None and not isinstance(key, str):
        raise ConfigurationError(
            f"key: the dependency returned {key!r:.60}. Let it return text, or None for no key"
        )
    try:
        return check_key(key)
    except ConfigurationError as error:
        raise HTTPException(422, str(error)) from None


def _no_key() -> None:
    return None


def _allowed(attributes: Any) -> Mapping[str, str] | None:
    """Return the attributes; those that a caller has made too long are answered with 422."""
    if attributes is None:
        return None
    if not isinstance(attributes, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str) for name, value in attributes.items()
    ):
        raise ConfigurationError(
            f"attributes: the dependency returned {attributes!r:.60}. Let it return a dict of names"
            " and texts, or None for none"
        )
    try:
        return check_attributes(attributes)
    except ConfigurationError as error:
        raise HTTPException(422, str(error)) from None


def _no_attributes() -> None:
    return None
