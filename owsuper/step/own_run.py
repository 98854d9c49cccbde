"""What a workflow function decides about its own run. The same in Step and AsyncStep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from owsuper.core.attributes import check_changes
from owsuper.step.progress import checked_progress
from owsuper.step.requests import Startable
from owsuper.step.run_info import RunInfo

if TYPE_CHECKING:
    from owsuper.step.engines import Engine

E = TypeVar("E", bound="Engine")
I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]


class OwnRun(RunInfo, Generic[E]):
    """The methods about the workflow's own run. They are not awaited in an AsyncStep either."""

    __slots__ = ("_engine",)

    def __init__(self, engine: E) -> None:
        super().__init__(engine.told_run)
        self._engine = engine

    def patched(self, name: str) -> bool:
        """Return whether this run takes the new branch of code that has changed.

        A run whose earlier executions have come further than this place takes the old branch:
        False. Any other run, new or not yet here, takes the new one: True. The answer is recorded,
        and is the same at each replay and at each call with this ``name``. It is not awaited.

        Raises StepUsageError for a call in the function of a step, or a name that cannot be used,
        and StepLimitExceeded.
        """
        return self._engine.patched(name)

    def set_progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report how far this run is: ``done`` of ``total``, in any unit, and what it does now.

        For people: ``progress()`` of a handle, ``owsuper runs show`` and the dashboard show the
        last report. It is written beside the run, about once a second, and may be lost in a crash.
        Nothing waits for it. The workflow function may call this, and so may the functions of
        steps, which get this method as an argument:
        ``step.run("copy", copy_all, files, step.set_progress)``. It is not awaited. Where code is
        replayed, it has no effect.

        Raises TypeError and ValueError for values that are no progress: ``done`` is a number from
        0, ``total`` a number above 0, ``message`` text of at most 500 characters.
        """
        self._engine.set_progress(*checked_progress(done, total, message))

    def set_attributes(self, changes: Mapping[str, str | None]) -> None:
        """Set attributes of this run, by which lists of runs are filtered; None removes one.

        Other attributes stay as they are. The workflow function may call this: the change is
        recorded as a step of its own, ``attributes:tenant``, and is made once. The functions of
        steps may call it, too, as they may :meth:`set_progress`: then the change is stored with
        the result of the step, and not at all if the attempt fails. It is not awaited.

        Raises ConfigurationError for names and values that are none: names are text of 1 to 64
        characters, values text of at most 256. StepUsageError after the end of the run, and
        StepLimitExceeded.
        """
        self._engine.set_attributes(check_changes(changes))

    @overload
    def continue_as_new(self, input: Any = None) -> NoReturn: ...
    @overload
    def continue_as_new(self, input: I, *, workflow: Startable[I, Any]) -> NoReturn: ...
    def continue_as_new(
        self, input: Any = None, *, workflow: Startable[Any, Any] | None = None
    ) -> NoReturn:
        """End this run, and begin a new one with this ``input`` in its place. Does not return.

        The successor begins without a history. It has the workflow of this run, or ``workflow``,
        its idempotency key, its deadline and its parent: who waits for the result of this run gets
        that of the last successor. This run ends as completed, without a result, and the successor
        starts in the same transaction. Steps that still run end first.

        This is no coroutine: it ends the run when it is called, awaited or not.

        Raises InvalidData if the input does not fit the workflow, NotSerializable, and
        StepUsageError if the workflow function itself does not call it.
        """
        self._engine.continue_as_new(input, workflow)
