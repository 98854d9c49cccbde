"""The decorator that turns a function into a workflow."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from owsuper.core.durations import Duration
from owsuper.core.replay import STEP_LIMIT
from owsuper.core.retry import RetryPolicy
from owsuper.core.schedules.spec import CatchUp, Overlap
from owsuper.errors import ConfigurationError
from owsuper.step import AsyncStep, Step
from owsuper.workflow import interactive
from owsuper.workflow.definition import Starter, Workflow
from owsuper.workflow.registry import DeclaredSchedules, Registry

if TYPE_CHECKING:
    from owsuper.client.resources import Resource
    from owsuper.core.limits import Limit

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise
R = TypeVar("R")
W = TypeVar("W", bound=Workflow[Any, Any])
Hook = TypeVar("Hook", bound=Callable[[], object])
Context = TypeVar(
    "Context",
    bound=Callable[[], AbstractContextManager[object] | AbstractAsyncContextManager[object]],
)


class Decorator(Protocol):
    """Turns a function into a workflow: sync or async, by the class of its step."""

    @overload
    def __call__(
        self, fn: Callable[[AsyncStep, I], Coroutine[Any, Any, O]], /
    ) -> Workflow[I, O]: ...
    @overload
    def __call__(
        self, fn: Callable[[AsyncStep], Coroutine[Any, Any, O]], /
    ) -> Workflow[None, O]: ...
    @overload
    def __call__(self, fn: Callable[[Step, I], O], /) -> Workflow[I, O]: ...
    @overload
    def __call__(self, fn: Callable[[Step], O], /) -> Workflow[None, O]: ...


class Registration(Starter):
    """The methods of OpenWorkflow that need no database."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.declared_schedules = DeclaredSchedules()
        self.start_hooks: list[Callable[[], object]] = []
        self.stop_hooks: list[Callable[[], object]] = []
        self.step_contexts: list[Callable[[], object]] = []

    @overload
    def workflow(
        self, fn: Callable[[AsyncStep, I], Coroutine[Any, Any, O]], /
    ) -> Workflow[I, O]: ...
    @overload
    def workflow(
        self, fn: Callable[[AsyncStep], Coroutine[Any, Any, O]], /
    ) -> Workflow[None, O]: ...
    @overload
    def workflow(self, fn: Callable[[Step, I], O], /) -> Workflow[I, O]: ...
    @overload
    def workflow(self, fn: Callable[[Step], O], /) -> Workflow[None, O]: ...
    @overload
    def workflow(
        self,
        name: str | None = None,
        /,
        *,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_timeout: Duration | None = None,
        step_limit: int = STEP_LIMIT,
        strict: bool = False,
        compatible_with: Sequence[str | None] = (),
        priority: int = 0,
        concurrency: int | None = None,
        limits: Sequence[Limit] = (),
    ) -> Decorator: ...
    def workflow(
        self,
        name: Any = None,
        /,
        *,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_timeout: Duration | None = None,
        step_limit: int = STEP_LIMIT,
        strict: bool = False,
        compatible_with: Sequence[str | None] = (),
        priority: int = 0,
        concurrency: int | None = None,
        limits: Sequence[Limit] = (),
    ) -> Any:
        """Make a function a workflow: ``@ow.workflow`` or ``@ow.workflow("name", ...)``.

        The function is ``def f(step: Step, input: I) -> O`` or ``async def f(step: AsyncStep,
        input: I) -> O``. The input may be left out. The workflow has the function's name unless
        a name is given. A run keeps the ``version`` with which it was started, and only a worker
        that has a workflow of exactly this name and version executes the run, or one of this name
        that is ``compatible_with`` the version: the run then gets its version. ``retry`` is the
        policy for a function that raises; without a policy, the run fails at once.
        ``step_timeout`` is the ``timeout`` of steps that have none of their own.
        ``step_limit`` is the number of step attempts that a run may have, including failed ones.
        ``strict`` fails a run with NonDeterminismError whose code begins a new step, or returns,
        without having called the steps that are recorded; otherwise the log warns.
        ``concurrency`` is the most runs of the workflow that one worker executes at once, with all
        its processes; all versions of a name share it.
        ``priority`` is that of runs that are started without one. ``limits`` are those of all runs
        of this name: ``[Concurrency(2, key="tenant_id"), Rate(100, per="1m")]``.

        Raises ConfigurationError for a function that cannot be a workflow, RegistrationError
        if another workflow has this name and version, or two are compatible with one version and
        neither with the other.
        """
        bare = None if name is None or isinstance(name, str) else name

        def define(fn: Callable[..., Any]) -> Workflow[Any, Any]:
            given_name = None if bare else name
            workflow = Workflow[Any, Any](
                self,
                fn,
                name=given_name,
                version=version,
                retry=retry,
                step_timeout=step_timeout,
                step_limit=step_limit,
                strict=strict,
                compatible_with=compatible_with,
                priority=priority,
                concurrency=concurrency,
                limits=limits,
            )
            self.registry.add(workflow)
            return workflow

        return define(bare) if bare else define

    def schedule(
        self,
        cron: str | None = None,
        /,
        *,
        name: str | None = None,
        every: Duration | None = None,
        timezone: str | None = None,
        input: Any = None,
        start: datetime | None = None,
        end: datetime | None = None,
        jitter: Duration | None = None,
        catch_up: CatchUp = "last",
        catch_up_limit: int = 100,
        overlap: Overlap = "allow",
    ) -> Callable[[W], W]:
        """Start runs of a workflow at times: ``@ow.schedule("0 3 * * *")`` above ``@ow.workflow``.

        The times are those of ``cron`` (five fields, or a name such as ``"@daily"``) in the
        ``timezone``, by default UTC; or there is one ``every`` so often, such as ``"15m"``, counted
        from ``start``, else from the beginning of 1970 in UTC. There are none before ``start``, an
        aware datetime, and none at ``end`` or later. Each run begins up to ``jitter`` after its
        tick. The run gets the :class:`Tick` if the workflow declares it as its input, else
        ``input``. A schedule has the name of its workflow, unless a ``name`` is given. A workflow
        may have several.

        ``catch_up`` says what becomes of ticks that nobody served: ``"none"`` of them, the
        ``"last"`` or ``"all"``, of which the latest ``catch_up_limit`` have a run. ``overlap`` says
        what becomes of a tick while a run of the schedule has not ended: ``"allow"`` starts another
        run, ``"skip"`` none, ``"queue"`` starts it when the other has ended (at most
        ``catch_up_limit`` ticks wait), ``"cancel_running"`` cancels the other.

        Workers store the schedule when they start, and fire its ticks.

        Raises ConfigurationError for what cannot be used, InvalidData for an input that does not
        fit, RegistrationError if another schedule has this name.
        """
        from owsuper.workflow import scheduling  # few programs need it

        if cron is not None and not isinstance(cron, str):
            raise ConfigurationError(
                f"schedule: {cron!r:.80} is no cron text. Write @ow.schedule('0 3 * * *') above"
                " @ow.workflow."
            )
        timing = scheduling.Timing(
            every=every,
            timezone=timezone,
            input=input,
            start=start,
            end=end,
            jitter=jitter,
            catch_up=catch_up,
            catch_up_limit=catch_up_limit,
            overlap=overlap,
        )

        def declare(workflow: W) -> W:
            self.declared_schedules.add(scheduling.declare(workflow, name, cron, timing))
            return workflow

        return declare

    def on_child_start(self, fn: Hook, /) -> Hook:
        """Call ``fn()`` once in each child process of a worker, before the process takes runs.

        Use it as a decorator, for what child processes open for themselves or must not share:
        clients and connection pools, random generators, exporters of telemetry, handlers of
        signals. It is called after the fork and after the application was imported: a ``def``
        function in the main thread, and an ``async def`` function on the event loop of async
        workflows. If it raises, the process ends, as if the application could not be imported.

        Raises ConfigurationError for a function that cannot be called without arguments, or that
        yields.
        """
        _check_hook("on_child_start", fn)
        _add(fn, self.start_hooks)
        return fn

    def on_child_stop(self, fn: Hook, /) -> Hook:
        """Call ``fn()`` once in each child process of a worker, when its last run is over.

        Use it as a decorator, to close what ``on_child_start`` has opened. Functions are called
        in the reverse order of their definition, where those of ``on_child_start`` are called.
        They have five seconds together. An exception is logged, and the next function is called.
        A process that is killed calls none of them.

        Raises ConfigurationError as ``on_child_start`` does.
        """
        _check_hook("on_child_stop", fn)
        _add(fn, self.stop_hooks)
        return fn

    def around_steps(self, context: Context, /) -> Context:
        """Call the function of each step within the context manager that ``context()`` returns.

        For what a web framework does around each request: ``ow.around_steps(app.app_context)``. It
        is entered in the thread that calls the function, and left before the result is stored, or,
        with ``step.transaction``, after the transaction. An ``async def`` function is called within
        a manager's ``__aenter__``, if there is one. The manager sees what the function raises. An
        exception of the manager is one of the step, unless that is stored. The first one given is
        the outermost.

        Raises ConfigurationError for a function that cannot be called without arguments.
        """
        _check_callable("around_steps", context)
        _add(context, self.step_contexts)
        return context

    @overload
    def resource(self, factory: Callable[[], AsyncIterator[R]], /) -> Resource[R]: ...
    @overload
    def resource(self, factory: Callable[[], Iterator[R]], /) -> Resource[R]: ...
    @overload
    def resource(self, factory: Callable[[], Coroutine[Any, Any, R]], /) -> Resource[R]: ...
    @overload
    def resource(self, factory: Callable[[], R], /) -> Resource[R]: ...
    def resource(self, factory: Callable[[], Any], /) -> Resource[Any]:
        """Make ``factory`` a resource: what it opens is opened once in each process.

        Use it as a decorator, for clients, pools and models that steps share. The factory returns
        the resource, or yields it and closes it afterwards; it may be async. It is called at the
        first use, after the fork, and what follows the yield when the child process stops.

        Raises ConfigurationError for a function that cannot be called without arguments, or whose
        ``yield`` a decorator hides.
        """
        from owsuper.client.resources import Resource  # few programs need it

        _check_callable("resource", factory)
        _check_yields_openly(factory)
        resource = Resource[Any](factory)
        self.stop_hooks.append(resource.close)
        return resource

    @contextmanager
    def override(self, resource: Resource[R], value: R) -> Iterator[None]:
        """Use ``value`` in the place of ``resource`` within the block, in this process.

        For tests. A worker in processes of its own does not notice. Raises ConfigurationError for
        what is no resource.
        """
        from owsuper.client.resources import Resource

        if not isinstance(resource, Resource):
            raise ConfigurationError(
                f"override: {resource!r:.80} is no resource. Pass what ow.resource returned."
            )
        with resource.override(value):
            yield


def _add(fn: Callable[[], object], functions: list[Callable[[], object]]) -> None:
    """Append ``fn``, or put it in the place of what it was before its cell was executed again."""
    has_name = "<" not in getattr(fn, "__qualname__", "<")  # not lambdas and local functions
    for number, each in enumerate(functions):
        if has_name and interactive.is_redefined(each, fn):
            functions[number] = fn
            return
    functions.append(fn)


def _check_callable(decorator: str, fn: Callable[[], object]) -> None:
    try:
        inspect.signature(fn).bind()
    except ValueError:  # a class or function in C may have no signature
        return
    except TypeError as exc:
        name = getattr(fn, "__qualname__", repr(fn))
        raise ConfigurationError(
            f"{decorator} calls {name} without arguments: {exc}. Mark a function that needs none."
        ) from None


def _check_yields_openly(factory: Callable[[], object]) -> None:
    inner = inspect.unwrap(factory)
    if _yields(inner) and not _yields(factory):
        name = getattr(factory, "__qualname__", repr(factory))
        raise ConfigurationError(
            f"resource: {name} yields, and a decorator hides it, such as contextlib's. Mark the"
            " function itself: ow.resource opens and closes what it yields."
        )


def _yields(fn: Callable[[], object]) -> bool:
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def _check_hook(decorator: str, fn: Callable[[], object]) -> None:
    name = getattr(fn, "__qualname__", repr(fn))
    if _yields(fn):
        raise ConfigurationError(
            f"{decorator} calls {name} and does not iterate: put what follows the yield into a"
            " function of on_child_stop"
        )
    _check_callable(decorator, fn)
