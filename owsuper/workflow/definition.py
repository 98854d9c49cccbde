"""Workflows and where they are registered.

A :class:`Workflow` is what ``@ow.workflow`` makes of a function: it starts runs, and a worker
looks it up by name and version to execute them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from owsuper.core import codec
from owsuper.core.names import check_workflow_name, is_broken
from owsuper.core.replay import STEP_LIMIT, check_step_limit
from owsuper.core.retry import RetryPolicy
from owsuper.errors import ConfigurationError, RegistrationError
from owsuper.workflow import signature
from owsuper.workflow.signature import UnresolvedAnnotation

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow
    from owsuper.client.handle import RunHandle

# A workflow takes I and is never asked for one, so one that accepts None as well may stand
# where one that takes nothing is wanted.
I = TypeVar("I", contravariant=True)  # noqa: E741 - the letter that the documentation uses
O = TypeVar("O", covariant=True)  # noqa: E741

When: TypeAlias = datetime | timedelta | str
"""An aware datetime, or how long from now: a timedelta, or text such as ``"5m"``."""


class Schedule(TypedDict, total=False):
    """When a run may start, and when it ends as failed if it has not finished."""

    available_at: When | None
    deadline_at: When | None


class Start(Schedule, total=False):
    idempotency_key: str | None


class Workflow(Generic[I, O]):
    """A durable function of a Step and an input ``I``, with a result ``O``.

    ``fn`` is the function as written, for tests; calling the workflow itself is an error.
    """

    def __init__(
        self,
        ow: OpenWorkflow,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_limit: int = STEP_LIMIT,
    ) -> None:
        self._ow = ow
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
        return self._ow.run_workflow(
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
        return await self._ow.arun_workflow(
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
        return self._ow.run_many(self, inputs, **schedule)

    async def arun_many(
        self, inputs: Iterable[I], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]:
        """Awaitable :meth:`run_many`."""
        return await self._ow.arun_many(self, inputs, **schedule)


class Registry:
    """The workflows of one OpenWorkflow, by name and version; no version differs from ""."""

    def __init__(self) -> None:
        self._workflows: dict[tuple[str, str | None], Workflow[Any, Any]] = {}

    def add(self, workflow: Workflow[Any, Any]) -> None:
        """Raises RegistrationError when another workflow has this name and version."""
        key = (workflow.name, workflow.version)
        if twin := self._workflows.get(key):
            raise RegistrationError(
                f"W{str(workflow)[1:]} is already registered, by {_place(twin.fn)}, and again by"
                f" {_place(workflow.fn)}. Give one of them another name or version."
            )
        self._workflows[key] = workflow

    def get(self, name: str, version: str | None = None) -> Workflow[Any, Any] | None:
        """The workflow of exactly this name and version."""
        return self._workflows.get((name, version))

    def names(self) -> list[tuple[str, str | None]]:
        """Name and version of each, in the order of registration."""
        return list(self._workflows)

    def __iter__(self) -> Iterator[Workflow[Any, Any]]:
        return iter(self._workflows.values())

    def __len__(self) -> int:
        return len(self._workflows)


def _name(fn: Callable[..., Any], name: str | None) -> str:
    if name is not None:
        return check_workflow_name(name)
    own = getattr(fn, "__name__", "")
    if own in ("", "<lambda>"):
        raise ConfigurationError(f'{fn!r:.60} has no name of its own: use @ow.workflow("a-name")')
    return check_workflow_name(own)


def check_version(version: str | None) -> str | None:
    if version is not None and not isinstance(version, str):
        raise ConfigurationError(f"version: {version!r} must be text, such as {str(version)!r}")
    if version is not None and ("\x00" in version or is_broken(version)):
        raise ConfigurationError(f"version: {version!r} contains U+0000 or a lone surrogate")
    return version


def _retry(retry: RetryPolicy | None) -> RetryPolicy | None:
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry: expected a RetryPolicy, not {retry!r:.60}")
    return retry


def _place(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{fn.__module__}.{fn.__qualname__}{where}"
