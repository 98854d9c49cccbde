"""What a process opens once and the steps of all runs share: clients, pools, models.

A resource is opened when it is first needed, after the fork, and closed when its child process
stops. A forked process does not use what its parent has opened.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from contextvars import Context, ContextVar
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast, overload

from owsuper.core.annotations import signature
from owsuper.errors import ConfigurationError

R = TypeVar("R")
P = ParamSpec("P")
T = TypeVar("T")

_NOT_OPEN: Final = object()

_opening: ContextVar[tuple[Resource[Any], ...]] = ContextVar("owsuper_opening", default=())
"""The async resources whose factories wait for the caller, directly or not."""

_resources: weakref.WeakSet[Resource[Any]] = weakref.WeakSet()


class Resource(Generic[R]):
    """What ``factory`` opens, once in each process. ``ow.resource`` makes these.

    The factory takes no arguments. It returns the resource, or yields it once and closes it after
    that. It may be async; then only async functions can use the resource.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory
        self._name = getattr(factory, "__qualname__", repr(factory))
        self._is_async = inspect.iscoroutinefunction(factory) or inspect.isasyncgenfunction(factory)
        self._overrides: list[tuple[Any]] = []
        self._value: Any = _NOT_OPEN
        self._closing = ExitStack()
        self._opener: int | None = None
        """The thread that calls the factory."""
        self._forget()
        _resources.add(self)

    def __repr__(self) -> str:
        return f"<Resource {self._name}>"

    def get(self) -> R:
        """Return the resource; open it if this is the first use in this process.

        Raises what the factory raises, and ConfigurationError for an async resource.
        """
        if self._overrides:
            return cast(R, self._overrides[-1][0])
        if self._is_async:
            raise ConfigurationError(
                f"the resource {self._name} is async: use it in an async function, with aget()"
            )
        if self._value is _NOT_OPEN:
            if self._opener == threading.get_ident():
                raise self._needs_itself()
            with self._lock:
                if self._value is _NOT_OPEN:
                    self._value = self._open()
        return cast(R, self._value)

    async def aget(self) -> R:
        """Awaitable :meth:`get`, for any resource. An async one is opened once on each loop."""
        if self._overrides or not self._is_async:
            return self.get()
        loop = asyncio.get_running_loop()
        opened = self._on_loops.get(loop)
        if opened is None or opened.has_failed():
            opened = self._on_loops[loop] = _OnLoop(self, loop)
        elif self in _opening.get() and not opened.value.done():
            raise self._needs_itself()
        return cast(R, await asyncio.shield(opened.value))

    @overload
    def inject(
        self, fn: Callable[Concatenate[R, P], Coroutine[Any, Any, T]], /
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def inject(self, fn: Callable[Concatenate[R, P], T], /) -> Callable[P, T]: ...
    def inject(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Let ``fn`` get the resource as its first argument. Use it as a decorator.

        Raises ConfigurationError for an async resource if ``fn`` is not async, and for a function
        without arguments.
        """
        self._check_takes_it(fn)
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def acall(*args: Any, **kwargs: Any) -> Any:
                return await fn(await self.aget(), *args, **kwargs)

            return acall
        if self._is_async:
            raise ConfigurationError(
                f"the resource {self._name} is async, so a function that gets it must be async, and"
                f" {getattr(fn, '__qualname__', fn)} is not"
            )

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            return fn(self.get(), *args, **kwargs)

        return call

    @contextmanager
    def override(self, value: R) -> Iterator[None]:
        """Use ``value`` in the place of the resource within the block, in this process."""
        override = (value,)  # values may be equal, or not comparable
        self._overrides.append(override)
        try:
            yield
        finally:
            self._overrides = [each for each in self._overrides if each is not override]

    def close(self) -> Awaitable[None] | None:
        """Close what is open. Awaitable for an async resource, on the loop that opened it.

        The next use opens the resource again.
        """
        if self._is_async:
            return self._aclose()
        with self._lock:
            closing, self._closing = self._closing, ExitStack()
            self._value = _NOT_OPEN
        closing.close()
        return None

    def _open(self) -> Any:
        """Call the factory, with the lock held."""
        self._opener = threading.get_ident()
        try:
            if inspect.isgeneratorfunction(self._factory):
                return self._closing.enter_context(contextmanager(self._factory)())
            return self._factory()
        except BaseException as exc:
            self._explain(exc)
            raise
        finally:
            self._opener = None

    def _explain(self, exc: BaseException) -> None:
        note = f"The resource {self._name} could not be opened."
        if note not in getattr(exc, "__notes__", ()):  # else an exception object is raised again
            exc.add_note(note)

    def _needs_itself(self) -> ConfigurationError:
        return ConfigurationError(
            f"the resource {self._name} needs itself: its factory uses it, or uses another resource"
            " that does. Pass what both need as a third resource."
        )

    def _check_takes_it(self, fn: Callable[..., Any]) -> None:
        name = getattr(fn, "__qualname__", repr(fn))
        try:
            signature(fn).bind_partial(None)
        except TypeError as exc:
            raise ConfigurationError(
                f"{name} cannot get the resource {self._name} as its first argument: {exc}. Use"
                " inject on a function with a parameter for it, before all others."
            ) from None
        except ValueError:  # a function in C that does not tell its parameters
            return

    async def _aclose(self) -> None:
        opened = self._on_loops.pop(asyncio.get_running_loop(), None)
        if opened is not None:
            await opened.close()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._opener = None
        self._value = _NOT_OPEN
        self._closing = ExitStack()
        self._on_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OnLoop] = (
            weakref.WeakKeyDictionary()
        )


class _OnLoop:
    """An async resource on one event loop. A task of its own opens it, and closes it.

    Some resources must be closed by the task that has opened them, such as those with a TaskGroup.
    """

    def __init__(self, resource: Resource[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.value: asyncio.Future[Any] = loop.create_future()
        self._closing = asyncio.Event()
        # The context of the run that needs the resource first is none of the resource's.
        context = Context()
        context.run(_opening.set, (*_opening.get(), resource))
        self._task = loop.create_task(self._host(resource), context=context)
        self._task.add_done_callback(self._release_who_waits)

    def has_failed(self) -> bool:
        """Whether the resource could not be opened, or an error has ended its task since."""
        return _has_failed(self._task) or _has_failed(self.value)

    async def close(self) -> None:
        """Close the resource, or give up to open it. Raises what the factory raises."""
        self._closing.set()
        if not self.value.done():
            self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    def _release_who_waits(self, _: asyncio.Task[None]) -> None:
        if not self.value.done():  # the task was cancelled before it began
            self.value.cancel()

    async def _host(self, resource: Resource[Any]) -> None:
        factory = resource._factory
        try:
            if not inspect.isasyncgenfunction(factory):
                self.value.set_result(await factory())
                return
            async with asynccontextmanager(factory)() as value:
                self.value.set_result(value)
                await self._closing.wait()
        except BaseException as exc:
            if self.value.done():
                raise
            resource._explain(exc)
            self.value.set_exception(exc)
            if isinstance(exc, asyncio.CancelledError):
                raise


def _has_failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


async def close_async() -> None:
    """Close the async resources that are open on the running loop, which is about to end."""
    for resource in list(_resources):
        if resource._is_async:
            await resource._aclose()


def _forget_in_child() -> None:
    """Leave what the parent process has opened to the parent."""
    for resource in list(_resources):
        _kept.append((resource._closing, resource._on_loops, resource._value))
        resource._forget()


_kept: list[Any] = []
"""What a parent has opened: its finalizers would close descriptors that the parent uses."""

os.register_at_fork(after_in_child=_forget_in_child)
