"""What ``@ow.workflow`` makes of a function: it starts runs, and a worker executes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    NoReturn,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from owsuper.core import codec
from owsuper.core.names import check_version, check_workflow_name
from owsuper.core.replay import STEP_LIMIT, check_step_limit
from owsuper.core.retry import RetryPolicy
from owsuper.errors import ConfigurationError
from owsuper.step.requests import Startable
from owsuper.workflow import signature
from owsuper.workflow.signature import UnresolvedAnnotation

if TYPE_CHECKING:
    from owsuper.client.handle import RunHandle

I = TypeVar("I", contravariant=True)  # noqa: E741 - as in Startable[I, O]
O = TypeVar("O", covariant=True)  # noqa: E741

When: TypeAlias = datetime | timedelta | str
"""An aware datetime, or how long from now: a timedelta, or text such as ``"5m"``."""


class Schedule(TypedDict, total=False):
    """When a run may start, and when it ends as failed if it has not finished."""

    available_at: When | None
    deadline_at: When | None


class Start(Schedule, total=False):
    idempotency_key: str | None


class Starter(Protocol):
    """What workflows are defined with, and what starts their runs: an OpenWorkflow."""

    def run_workflow(
        self, workflow: Workflow[Any, O], input: Any, **start: Unpack[Start]
    ) -> RunHandle[O]:
        """Start a run."""
        ...

    async def arun_workflow(
        self, workflow: Workflow[Any, O], input: Any, **start: Unpack[Start]
    ) -> RunHandle[O]:
        """Awaitable ``run_workflow``."""
        ...

    def run_many(
        self, workflow: Workflow[Any, O], inputs: Iterable[Any], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]:
        """Start a run for each input."""
        ...

    async def arun_many(
        self, workflow: Workflow[Any, O], inputs: Iterable[Any], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]:
        """Awaitable ``run_many``."""
        ...


class Workflow(Startable[I, O]):
    """A durable function of a Step and an input ``I``, with a result ``O``.

    ``fn`` is the function as written, for tests; calling the workflow itself is an error.
    """

    def __init__(
        self,
        starter: Starter,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_limit: int = STEP_LIMIT,
    ) -> None:
        self.starter = starter
        self.fn = fn
        self.name = _name(fn, name)
        self.version = check_version(version)
        self.retry = _retry(retry)
        self.step_limit = check_step_limit(step_limit)
        try:
            self._signature = signature.read(fn)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self}: {error}") from None
        with contextlib.suppress(UnresolvedAnnotation):  # it may name a class further down
            _ = self.types  # complain now, where the definition stands
        self.__doc__ = fn.__doc__

    def __repr__(self) -> str:
        version = f", version={self.version!r}" if self.version is not None else ""
        return f"<Workflow {self.name!r}{version}>"

    def __str__(self) -> str:
        version = f" (version: {self.version})" if self.version else ""
        return f'workflow "{self.name}"{version}'

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
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
        """The annotated types of input and result: ``Any`` where there is none.

        Raises ConfigurationError when they cannot be resolved or cannot be stored as JSON.
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
        """What the input is converted to; None for a function that takes no input."""
        return self.types[0]

    @property
    def output_type(self) -> Any:
        """What the result is converted to."""
        return self.types[1]

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
        idempotency_key: str | None = None,
        available_at: When | None = None,
        deadline_at: When | None = None,
    ) -> RunHandle[O]:
        """Start a run; it is stored when this returns, and some worker executes it.

        With an ``idempotency_key``, a run of this workflow that was started with the same key
        in the last 24 hours is returned instead. ``available_at`` delays the start and
        ``deadline_at`` ends the run as failed: an aware datetime, or a timedelta or a duration
        text such as ``"5m"`` from now.

        Raises InvalidData when the input does not fit the declared type, NotSerializable when
        it cannot be stored, ConfigurationError for a time or key that cannot be used,
        DatabaseUnreachable and MigrationError.
        """
        return self.starter.run_workflow(
            self,
            input,
            idempotency_key=idempotency_key,
            available_at=available_at,
            deadline_at=deadline_at,
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
        idempotency_key: str | None = None,
        available_at: When | None = None,
        deadline_at: When | None = None,
    ) -> RunHandle[O]:
        """Awaitable :meth:`run`."""
        return await self.starter.arun_workflow(
            self,
            input,
            idempotency_key=idempotency_key,
            available_at=available_at,
            deadline_at=deadline_at,
        )

    def run_many(self, inputs: Iterable[I], **schedule: Unpack[Schedule]) -> list[RunHandle[O]]:
        """Start a run for each input, in one transaction: all of them or none.

        Raises what :meth:`run` raises; a field of an input is named ``inputs[3].user_id``.
        """
        return self.starter.run_many(self, inputs, **schedule)

    async def arun_many(
        self, inputs: Iterable[I], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]:
        """Awaitable :meth:`run_many`."""
        return await self.starter.arun_many(self, inputs, **schedule)


def _name(fn: Callable[..., Any], name: str | None) -> str:
    if name is not None:
        return check_workflow_name(name)
    own = getattr(fn, "__name__", "")
    if own in ("", "<lambda>"):
        raise ConfigurationError(f'{fn!r:.60} has no name of its own: use @ow.workflow("a-name")')
    return check_workflow_name(own)


def _retry(retry: RetryPolicy | None) -> RetryPolicy | None:
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry: expected a RetryPolicy, not {retry!r:.60}")
    return retry
