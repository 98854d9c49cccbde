"""Finds the steps of an ``async def`` workflow that were called and that nobody awaits.

A step method returns a ``StepCall``, which is a coroutine to asyncio and to user code. A call that
never starts is a forgotten ``await``. A task that a workflow makes is a ``BranchTask``, which notes
whether anybody asks for its result. That nobody did is the same mistake.

An error or a cancellation that passes through a step excuses all calls before it: user code that
handles it may leave them on purpose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final

from owsuper.core.unwind import Unwind
from owsuper.errors import StepUsageError

Running = Callable[[], Coroutine[Any, Any, Any]]

_JOINS: Final = frozenset({"gather.<locals>._done_callback", "TaskGroup._on_task_done"})
"""The callbacks of asyncio through which all tasks are awaited together."""

_current: ContextVar[StepCalls | None] = ContextVar("owsuper_step_calls", default=None)
"""The calls of the execution whose workflow function runs in this context."""


class StepCalls:
    """The calls and tasks of one execution that nobody awaits so far. For the loop's thread."""

    def __init__(self) -> None:
        self._unstarted: dict[int, tuple[str, asyncio.Task[Any] | None]] = {}
        """id(call) → its name, and its task if it has one of its own."""
        self._unawaited: dict[BranchTask, str] = {}
        """Tasks with a step that nobody has asked for a result yet → the name of the step."""
        self._dropped: list[str] = []
        self.in_order = True
        """Whether the steps so far cannot have depended on which of several branches was faster.

        Tasks of one step each that gather or a TaskGroup joins, or that are awaited, do not count.
        """

    def enter(self) -> None:
        """Begin to watch the tasks that are made in this context."""
        _current.set(self)

    @staticmethod
    def leave() -> None:
        """Stop watching this context: the function of a step may leave tasks behind."""
        _current.set(None)

    def forgotten(self, ended: bool = False) -> StepUsageError | None:
        """Return the error for a step that is known to be never awaited, or None.

        When the workflow function has ``ended``, nobody can await what nobody awaits by then.
        """
        names = self._dropped or (self._left_behind() if ended else [])
        return _error(names[0]) if names else None

    def _left_behind(self) -> list[str]:
        names = []
        kept = [name for name, task in self._unstarted.values() if task is None]
        if kept and not any(_is_active(task, self) for task in asyncio.all_tasks()):
            names += kept  # with other branches, one of them may hold the call
        for name, task in self._unstarted.values():
            if task is not None and not task.cancelling():
                names.append(name)
        names += [name for task, name in self._unawaited.items() if not task.cancelling()]
        return names

    def cancel_unstarted(self) -> None:
        """Cancel the tasks whose step has not started."""
        for _, task in self._unstarted.values():
            if task is not None:
                task.cancel()

    # --- for StepCall and BranchTask -------------------------------------------------------

    def called(self, call: StepCall) -> None:
        """Note a call that has not started."""
        if isinstance(_current_task(), BranchTask):
            self.in_order = False
        self._unstarted[id(call)] = (call.__qualname__, None)

    def started(self, call: StepCall) -> None:
        """Note that the call is awaited, cancelled or closed."""
        self._unstarted.pop(id(call), None)

    def dropped(self, call: StepCall) -> None:
        """Note that a call was deleted; it is forgotten if it has not started."""
        if (unstarted := self._unstarted.pop(id(call), None)) is None:
            return
        name, own = unstarted
        for task in (own, _current_task()):
            if task is not None and task.cancelling():
                return
        self._dropped.append(name)

    def adopt(self, task: BranchTask) -> None:
        """Watch a task that user code has made."""
        task.calls = self
        call = task.get_coro()
        if isinstance(call, StepCall):
            self._unawaited[task] = call.__qualname__
            if id(call) in self._unstarted:
                self._unstarted[id(call)] = (call.__qualname__, task)

    def awaited(self, task: BranchTask) -> None:
        """Note that somebody asks for the result of the task."""
        self._unawaited.pop(task, None)

    async def run(self, call: StepCall, running: Running) -> Any:
        """Await the step of ``call`` in the current task."""
        task = _current_task()
        branch = task if isinstance(task, BranchTask) and task.get_coro() is not call else None
        if branch is not None and not branch.observed:
            self._unawaited[branch] = call.__qualname__
        try:
            return await running()
        except Unwind:
            raise
        except BaseException:
            self._unstarted.clear()
            self._unawaited.clear()
            raise
        finally:
            if branch is not None:
                self.awaited(branch)


class StepCall(Coroutine[Any, Any, Any]):
    """A step that user code has called, to be awaited once; ``running`` runs it."""

    __slots__ = ("__qualname__", "_calls", "_coroutine", "_running")

    def __init__(self, name: str, calls: StepCalls, running: Running) -> None:
        self.__qualname__ = name
        self._calls = calls
        self._running = running
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        calls.called(self)

    def __repr__(self) -> str:
        return f"<{self.__qualname__}>"

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._start().__await__()

    def send(self, value: Any) -> Any:
        """Begin or continue the step, as a task does."""
        return self._start().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error at the place where the step waits, as the end of a task does."""
        return self._start().throw(*error)

    def close(self) -> None:
        """Give up the step. A call that is closed is not awaited on purpose."""
        self._start().close()

    def __del__(self) -> None:
        self._calls.dropped(self)

    def _start(self) -> Coroutine[Any, Any, Any]:
        if self._coroutine is None:
            self._calls.started(self)
            self._coroutine = self._calls.run(self, self._running)
        return self._coroutine


class BranchTask(asyncio.Task[Any]):
    """A task that a workflow function has made; ``observed`` says that somebody awaits it."""

    calls: StepCalls | None = None
    observed: bool = False

    def __await__(self) -> Generator[Any, None, Any]:
        self._observe()
        return super().__await__()

    def add_done_callback(self, fn: Callable[..., object], /, **options: Any) -> None:
        """Call ``fn`` at the end, as gather, wait, TaskGroup and shield do."""
        # asyncio's documentation keeps tasks alive in a set, with its discard as the callback.
        owner = getattr(fn, "__self__", None)
        if not isinstance(owner, (set, dict, list)):
            joins = isinstance(owner, asyncio.Task) or getattr(fn, "__qualname__", "") in _JOINS
            self._observe(in_order=joins)
        super().add_done_callback(fn, **options)

    def done(self) -> bool:
        """Whether the task is over."""
        done = super().done()
        if done:
            self._observe(in_order=False)
        return done

    def result(self) -> Any:
        """Return the result of the task, or raise its error."""
        self._observe()
        return super().result()

    def exception(self) -> BaseException | None:
        """Return the error of the task."""
        self._observe()
        return super().exception()

    def _observe(self, in_order: bool = True) -> None:
        self.observed = True
        if self.calls is not None:
            self.calls.awaited(self)
            self.calls.in_order = self.calls.in_order and in_order


def create_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Any,  # a Coroutine, or a Generator, which the library's stubs allow too
    **options: Any,
) -> asyncio.Task[Any]:
    """Make a task, for ``loop.set_task_factory``; in a workflow function, one that is watched."""
    calls = _current.get()
    if calls is None:
        return asyncio.Task(coroutine, loop=loop, **options)
    task = BranchTask(coroutine, loop=loop, **options)
    calls.adopt(task)
    return task


def _is_active(task: asyncio.Task[Any], calls: StepCalls) -> bool:
    return isinstance(task, BranchTask) and task.calls is calls and not task.done()


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread: the garbage collector may run in any
        return None


def _error(name: str) -> StepUsageError:
    return StepUsageError(
        f"{name} was called, and nobody awaits it, so its result would be lost. Put await before"
        " it, or await the task that was made of it, before the workflow function returns."
    )
