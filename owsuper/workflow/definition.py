"""The class of the objects that ``@ow.workflow`` makes from functions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    NoReturn,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)
from uuid import UUID

from owsuper.core import codec
from owsuper.core.durations import Duration
from owsuper.core.names import check_compatible, check_own_workflow_name, check_version
from owsuper.core.priority import check_priority
from owsuper.core.replay import STEP_LIMIT, check_step_limit
from owsuper.core.retry import RetryPolicy
from owsuper.core.time_outs import check_timeout
from owsuper.core.upcasts import Upcasts
from owsuper.errors import ConfigurationError
from owsuper.step.requests import Startable
from owsuper.workflow import signature
from owsuper.workflow.signature import UnresolvedAnnotation
from owsuper.workflow.start_options import Schedule, Start, When

if TYPE_CHECKING:
    from owsuper.client.handle import RunHandle
    from owsuper.core.limits import Limit

I = TypeVar("I", contravariant=True)  # noqa: E741 - as in Startable[I, O]
O = TypeVar("O", covariant=True)  # noqa: E741 - likewise

F = TypeVar("F", bound=Callable[[Any], Any])


class Starter(Protocol):
    """The OpenWorkflow with which a workflow is defined, as the workflow uses it."""

    def run_workflow(
        self, workflow: Workflow[Any, O], input: Any, **start: Unpack[Start]
    ) -> RunHandle[O]:
        """Start a run; return its handle."""
        ...

    async def arun_workflow(
        self, workflow: Workflow[Any, O], input: Any, **start: Unpack[Start]
    ) -> RunHandle[O]:
        """Awaitable ``run_workflow``."""
        ...

    def run_many(
        self, workflow: Workflow[Any, O], inputs: Iterable[Any], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]:
        """Start a run for each input; return their handles."""
        ...

    async def arun_many(
        self, workflow: Workflow[Any, O], inputs: Iterable[Any], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]:
        """Awaitable ``run_many``."""
        ...


class Workflow(Startable[I, O]):
    """A durable function of a step and an input ``I``, with a result ``O``.

    ``run`` starts runs, and a worker executes them. ``fn`` is the function as written, for tests.
    The workflow itself cannot be called.
    """

    def __init__(
        self,
        starter: Starter,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_timeout: Duration | None = None,
        step_limit: int = STEP_LIMIT,
        strict: bool = False,
        compatible_with: Iterable[str | None] = (),
        priority: int = 0,
        concurrency: int | None = None,
        limits: Iterable[Limit] = (),
    ) -> None:
        self.starter = starter
        self.fn = fn
        self.name = _name(fn, name)
        self.version = check_version(version)
        self.retry = _retry(retry)
        self.step_timeout = _step_timeout(step_timeout)
        self.step_limit = check_step_limit(step_limit)
        self.strict = strict
        self.priority = check_priority(priority)
        self.concurrency = _concurrency(concurrency)
        self.limits = _limits(limits, self.name)
        self.upcasts = Upcasts()
        self.compatible_with = check_compatible(compatible_with, self.version)
        try:
            self._signature = signature.read(fn)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self}: {error}") from None
        with contextlib.suppress(UnresolvedAnnotation):  # a class may be defined further down
            _ = self.types  # raise now, in the traceback of the definition
        self.__doc__ = fn.__doc__

    def __repr__(self) -> str:
        version = f", version={self.version!r}" if self.version is not None else ""
        return f"<Workflow {self.name!r}{version}>"

    def __str__(self) -> str:
        version = f" (version: {self.version})" if self.version else ""
        return f'workflow "{self.name}"{version}'

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Raise TypeError, which says how to start a run."""
        raise TypeError(
            f"{self} cannot be called like a function. Use .run(input) to start a run of it,"
            " or .fn(step, input) to call the function itself, as a test may."
        )

    @property
    def is_async(self) -> bool:
        """Whether the function is ``async def`` and takes an AsyncStep."""
        return self._signature.is_async

    @property
    def takes_input(self) -> bool:
        """Whether the function has a second parameter."""
        return self._signature.input_name is not None

    @cached_property
    def types(self) -> tuple[Any, Any]:
        """The annotated types of the input and the result; ``Any`` without an annotation.

        Raises ConfigurationError for a type that cannot be resolved or cannot be stored as JSON.
        """
        try:
            input_type, output_type = self._signature.types()
        except UnresolvedAnnotation as error:
            raise UnresolvedAnnotation(f"{self}: {error}") from None
        codec.check_type(input_type, f"{self}: the type of its input")
        codec.check_type(output_type, f"{self}: its return type", stored=True)
        return input_type, output_type

    @property
    def input_type(self) -> Any:
        """The type of the input; None for a function that takes no input."""
        return self.types[0]

    @property
    def output_type(self) -> Any:
        """The type of the result."""
        return self.types[1]

    @overload
    def upcast(self, fn: F, /) -> F: ...
    @overload
    def upcast(self, /, *, step: str) -> Callable[[F], F]: ...
    @overload
    def upcast(self, /, *, result: bool) -> Callable[[F], F]: ...
    def upcast(self, fn: Any = None, /, *, step: str | None = None, result: bool = False) -> Any:
        """Upgrade what older code has stored, by ``fn(stored)``, where it does not fit the types.

        Use it as a decorator: ``@order.upcast`` for the input of runs, ``@order.upcast(step="a")``
        for the results of the step of this name (or its signal's data, or its child run's result),
        ``@order.upcast(result=True)`` for the results of runs. ``fn`` takes the stored value as
        plain JSON and returns what fits, as JSON or as an object of the type. It is not called for
        a value that fits. What is stored does not change.

        Raises ConfigurationError for a function that cannot be called so, or an input or result
        without a type, which anything fits; RegistrationError for a second upcast of the same.
        """
        from owsuper.workflow import upcasting  # few programs need it

        upcasting.check(self, step, result=result)

        def register(function: Any) -> Any:
            upcasting.register(self, function, step, result=result)
            return function

        return register if fn is None else register(fn)

    @overload
    def run(
        self: Workflow[None, O], input: None = None, **start: Unpack[Start]
    ) -> RunHandle[O]: ...
    @overload
    def run(self, input: I, **start: Unpack[Start]) -> RunHandle[O]: ...
    def run(
        self,
        input: Any = None,
        *,
        id: str | UUID | None = None,
        idempotency_key: str | None = None,
        key_lifetime: Duration | None = None,
        available_at: When | None = None,
        deadline_at: When | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        connection: object = None,
    ) -> RunHandle[O]:
        """Start a run and return its handle. The run is stored when this returns.

        A worker executes the run. If a run of this workflow was started with the same
        ``idempotency_key`` in the last 24 hours, or the last ``key_lifetime`` if that is given,
        this returns the handle of that run instead.
        The run gets the ``id``, if one is given: a UUID, or text such as ``"order-17"``. If a run
        of this workflow has this id, this returns its handle, and starts nothing.
        The run does not start before ``available_at``. If it has not ended at ``deadline_at``,
        it ends as failed. Both are an aware datetime, or a timedelta or text such as ``"5m"``
        from now. ``priority``, from 0 to 100, is that of the workflow unless it is given: of the
        runs that are due, one of a higher priority begins first.
        The run has the ``attributes``, such as ``{"tenant": "7"}``: names of at most 64 characters
        with texts of at most 256, by which lists of runs are filtered.

        With a ``connection``, the run is stored in the transaction that is open on it, and exists
        if that commits: a connection or cursor of psycopg, a Session or Connection of SQLAlchemy
        (with psycopg or psycopg2), Django's connection or its alias. It must lead to the database
        of the workflows. Errors of the statement are those of the connection's library.

        Raises InvalidData if the input does not fit the declared type, NotSerializable if it
        cannot be stored, ConfigurationError for a time, key, id or attribute that cannot be used,
        RunExists if a run of another workflow has the id, DatabaseUnreachable and MigrationError.
        """
        return self.starter.run_workflow(
            self,
            input,
            id=id,
            idempotency_key=idempotency_key,
            key_lifetime=key_lifetime,
            available_at=available_at,
            deadline_at=deadline_at,
            priority=priority,
            attributes=attributes,
            connection=connection,
        )

    @overload
    async def arun(
        self: Workflow[None, O], input: None = None, **start: Unpack[Start]
    ) -> RunHandle[O]: ...
    @overload
    async def arun(self, input: I, **start: Unpack[Start]) -> RunHandle[O]: ...
    async def arun(
        self,
        input: Any = None,
        *,
        id: str | UUID | None = None,
        idempotency_key: str | None = None,
        key_lifetime: Duration | None = None,
        available_at: When | None = None,
        deadline_at: When | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        connection: object = None,
    ) -> RunHandle[O]:
        """Awaitable :meth:`run`.

        The ``connection`` is an async one: of psycopg, of SQLAlchemy (with psycopg or asyncpg) or
        of asyncpg.
        """
        return await self.starter.arun_workflow(
            self,
            input,
            id=id,
            idempotency_key=idempotency_key,
            key_lifetime=key_lifetime,
            available_at=available_at,
            deadline_at=deadline_at,
            priority=priority,
            attributes=attributes,
            connection=connection,
        )

    def run_many(self, inputs: Iterable[I], **schedule: Unpack[Schedule]) -> list[RunHandle[O]]:
        """Start a run for each input in one transaction, and return the handles in order.

        All runs are started, or none, and all have the same ``attributes``. Raises as :meth:`run`
        does. An error names a field of an input as ``inputs[3].user_id``.
        """
        return self.starter.run_many(self, inputs, **schedule)

    async def arun_many(
        self, inputs: Iterable[I], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]:
        """Awaitable :meth:`run_many`."""
        return await self.starter.arun_many(self, inputs, **schedule)


def _name(fn: Callable[..., Any], name: str | None) -> str:
    if name is not None:
        return check_own_workflow_name(name)
    own = getattr(fn, "__name__", "")
    if own in ("", "<lambda>"):
        raise ConfigurationError(f'{fn!r:.60} has no name: give one with @ow.workflow("a-name")')
    return check_own_workflow_name(own)


def _retry(retry: RetryPolicy | None) -> RetryPolicy | None:
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry: expected a RetryPolicy, not {retry!r:.60}")
    return retry


def _step_timeout(value: Duration | None) -> float | None:
    """Return the seconds that each attempt of a step may take, unless the step says otherwise."""
    return None if value is None else check_timeout(value, "step_timeout")


def _concurrency(value: Any) -> int | None:
    """Return the most runs of a workflow that one worker executes at once; None: no bound."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_int and value >= 1):
        raise ConfigurationError(
            f"concurrency: {value!r:.60} must be a whole number from 1 on: how many runs of the"
            " workflow one worker executes at once"
        )
    return None if value is None else int(value)


def _limits(limits: Iterable[Any], workflow: str) -> tuple[Limit, ...]:
    if limits == ():
        return ()
    from owsuper.core.limits import check_limits  # few programs need it

    return check_limits(limits, workflow)
