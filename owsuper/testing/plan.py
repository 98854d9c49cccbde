"""What a test puts in the place of steps, and the faults and patches that it wants."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from owsuper.child.execution.asynchronous import AsyncExecution
from owsuper.child.execution.base import Execution
from owsuper.child.execution.drive import is_async
from owsuper.child.execution.steps import result_type
from owsuper.child.execution.sync import SyncExecution
from owsuper.core.annotations import annotations_of
from owsuper.core.decisions import Wait
from owsuper.core.steps.effects import CallError, CallResult
from owsuper.core.undoing import undo_name
from owsuper.core.unwind import Unwind
from owsuper.errors import ConfigurationError, StepUsageError
from owsuper.step.requests import FunctionCall, Request, TransactionCall
from owsuper.testing.faults import StepFault
from owsuper.testing.interruptions import TestOver, ends_test

_PAUSE: Final = 1.0  # seconds of real time, after which a step looks for an answer


class Plan:
    """Replacements of functions of steps, and faults in them, by the names of the steps.

    ``patches`` has the answers of patches, by their names. ``now`` returns the time of the test.
    Raises ConfigurationError for a replacement that cannot be called.
    """

    def __init__(
        self,
        steps: Mapping[str, Callable[..., Any]],
        faults: Iterable[StepFault],
        now: Callable[[], datetime],
        patches: Mapping[str, bool],
    ) -> None:
        self.now = now
        self.patches = patches
        self._patched: set[str] = set()
        for name, replacement in steps.items():
            if not callable(replacement):
                raise ConfigurationError(
                    f"steps[{name!r}]: expected a function to call in place of the step's, not"
                    f" {replacement!r:.60}. For a fixed result, pass lambda *args: result."
                )
        self._steps = dict(steps)
        self._faults = [replace(fault) for fault in faults]  # a test may use one again
        self.called: set[str] = set()
        self.interruption: BaseException | None = None
        """What was raised that ends the test."""

    def interrupt(self, exc: BaseException) -> TestOver:
        """Keep an exception that ends the test; return what gives the run back."""
        self.interruption = self.interruption or exc
        return TestOver(f"the test ends with {type(exc).__name__}")

    def replace(self, request: Request) -> Request:
        """Return what is called in place of ``request``."""
        if not isinstance(request, FunctionCall) or not callable(request.fn):
            return request
        replacement, fn = self._steps.get(request.name), request.fn
        if replacement is not None:
            fn = replacement
            if request.type is None and _returns_none(request.fn):
                fn = _returning_none(request.name, replacement)
        if request.type is None:  # the real function's, also for a replacement
            request.type = result_type(request.name, request.fn, None)
        if isinstance(request, TransactionCall):
            if replacement is None:
                fn = self._without_database(request.name)
            request = FunctionCall(
                request.name,
                fn,
                request.args,
                request.retry,
                request.type,
                request.formerly,
                request.timeout,
                request.undo,
                request.limit,
            )
        if request.undo is not None and callable(request.undo):
            request.undo = self._replaced_undo(undo_name(request.name), request.undo)
        faults = [fault for fault in self._faults if fault.step == request.name]
        request.fn = self._watched(request.name, fn, faults)
        return request

    def _replaced_undo(self, name: str, undo: Callable[..., Any]) -> Callable[..., Any]:
        faults = [fault for fault in self._faults if fault.step == name]
        return self._watched(name, self._steps.get(name, undo), faults)

    def patch(self, name: str) -> bool | None:
        """Return which branch of a patch the test wants; None if it is the engine's to decide."""
        self._patched.add(name)
        return self.patches.get(name)

    def check_used(self, *, steps: bool = True) -> None:
        """Raise AssertionError for what was never needed: replacements, faults and patches.

        Replacements are checked with ``steps``.
        """
        unneeded = self.patches.keys() - self._patched
        if unneeded:
            names = ", ".join(map(repr, sorted(unneeded)))
            raise AssertionError(f"patches: the code did not ask for {names}")
        unused = [name for name in self._steps if name not in self.called]
        if unused and steps:
            raise AssertionError(
                f"steps: no step with this name was executed: {', '.join(map(repr, unused))}."
                f" Executed: {', '.join(map(repr, sorted(self.called))) or 'none'}"
            )
        missed = [
            fault.step
            for fault in self._faults
            if fault.happened < fault.times and not fault.optional
        ]
        if missed:
            raise AssertionError(
                f"faults: the step was not executed as often: {', '.join(map(repr, missed))}"
            )

    def _without_database(self, name: str) -> Callable[..., Any]:
        """Return a function that ends the test, for a transaction without a replacement."""

        def call(*_: Any) -> Any:
            error = AssertionError(
                f"step {name!r} is a transaction, and this test has no database. Pass"
                f" steps={{{name!r}: function}}, which gets no connection; or execute the run by a"
                " ThreadWorker."
            )
            raise self.interrupt(error)

        return call

    def _watched(
        self, name: str, fn: Callable[..., Any], faults: list[StepFault]
    ) -> Callable[..., Any]:
        def note() -> None:
            self.called.add(name)
            for fault in faults:
                if fault.happened < fault.times:
                    fault.happened += 1
                    fault.happen()

        if is_async(fn):

            async def acall(*args: Any) -> Any:
                note()
                try:
                    return await fn(*args)
                except BaseException as exc:
                    if ends_test(exc):
                        raise self.interrupt(exc) from exc
                    raise

            return acall

        def call(*args: Any) -> Any:
            note()
            try:
                return fn(*args)
            except BaseException as exc:
                if ends_test(exc):
                    raise self.interrupt(exc) from exc
                raise

        return call


def _returns_none(fn: Callable[..., Any]) -> bool:
    """Whether ``fn`` is annotated to return None, which workers do not check."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return annotations_of(fn).get("return", Any) in (None, type(None), "None")


def _returning_none(name: str, replacement: Callable[..., Any]) -> Callable[..., Any]:
    """Return the replacement of a function whose callers expect None."""

    def check(value: Any) -> None:
        if value is not None:
            raise StepUsageError(
                f"Step {name!r}: the replacement returned {value!r:.60}, and the function of the"
                " step is annotated to return None. Let the replacement return None, too."
            )

    if is_async(replacement):

        async def acall(*args: Any) -> None:
            check(await replacement(*args))

        return acall

    def call(*args: Any) -> None:
        check(replacement(*args))

    return call


class _PlannedExecution(Execution):
    """An execution at the time of the test, which stands still while code is executed."""

    plan: Plan

    def now(self) -> datetime:
        """Return the time of the test."""
        return self.plan.now()

    def give_back(self, exc: BaseException) -> Unwind:
        """Give the run back; note what ends the test."""
        if ends_test(exc):
            self.plan.interrupt(exc)
        return super().give_back(exc)

    def note_end(self, end: CallResult | CallError) -> CallResult | CallError:
        """Return the end of the workflow function; note what ends the test."""
        if isinstance(end, CallError) and self.decided_outcome is None and ends_test(end.exception):
            self.plan.interrupt(end.exception)
        return end

    def patched(self, name: str) -> bool:
        """Return the branch that the test wants, or that of the engine."""
        recorded, wanted = super().patched(name), self.plan.patch(name)
        return recorded if wanted is None else wanted

    def pause_of(self, wait: Wait) -> float:
        """Return the seconds to block for ``wait``.

        It is never over before the run is parked, so it must not end a little later again and
        again: a run is parked when nothing happens.
        """
        return super().pause_of(wait) if wait.until <= self.now() else _PAUSE


class PlannedSyncExecution(_PlannedExecution, SyncExecution):
    """An execution of a ``def`` workflow whose steps are those of ``plan``."""

    def run_body(
        self, fn: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> CallResult | CallError:
        """Call the workflow function in this thread."""
        return self.note_end(super().run_body(fn, arguments))

    def call(self, request: Request) -> Any:
        """Execute or replay a step."""
        return super().call(self.plan.replace(request))

    def submit(self, request: Request, joined: bool = False) -> Any:
        """Execute or replay a step in another thread."""
        return super().submit(self.plan.replace(request), joined)


class PlannedAsyncExecution(_PlannedExecution, AsyncExecution):
    """An execution of an ``async def`` workflow whose steps are those of ``plan``."""

    async def run_body(
        self, fn: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> CallResult | CallError:
        """Await the workflow function."""
        return self.note_end(await super().run_body(fn, arguments))

    def call(self, request: Request) -> Any:
        """Execute or replay a step."""
        return super().call(self.plan.replace(request))

    def submit(self, request: Request, joined: bool = False) -> Any:
        """Execute or replay a step in a task."""
        return super().submit(self.plan.replace(request), joined)


def execution_types(plan: Plan) -> tuple[type[SyncExecution], type[AsyncExecution]]:
    """Return the classes of executions that follow ``plan``."""
    return (
        type("PlannedSyncExecution", (PlannedSyncExecution,), {"plan": plan}),
        type("PlannedAsyncExecution", (PlannedAsyncExecution,), {"plan": plan}),
    )
