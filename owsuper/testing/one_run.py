"""``run_in_process``: one run in the process of a test, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack, overload
from uuid import UUID

from owsuper.client.registration import Registration
from owsuper.errors import ConfigurationError
from owsuper.testing import arguments
from owsuper.testing.child_runs import Child
from owsuper.testing.faults import Fault
from owsuper.testing.in_process import InProcessWorker
from owsuper.testing.outcome import InProcessRun
from owsuper.testing.tables import BEGINNING
from owsuper.workflow.definition import Workflow

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise


class Replacements(TypedDict, total=False):
    """The keyword arguments of ``survives_crashes``."""

    id: str | UUID | None
    attributes: Mapping[str, str] | None
    steps: Mapping[str, Callable[..., Any]] | None
    children: Mapping[str, Child] | None
    signals: Iterable[tuple[str, Any]]
    allow_unused: bool


class Surroundings(Replacements, total=False):
    """The keyword arguments of ``run_in_process``."""

    faults: Iterable[Fault]
    patches: Mapping[str, bool] | None
    now: datetime


@overload
def run_in_process(
    workflow: Workflow[None, O], input: None = None, **options: Unpack[Surroundings]
) -> InProcessRun[O]: ...
@overload
def run_in_process(
    workflow: Workflow[I, O], input: I, **options: Unpack[Surroundings]
) -> InProcessRun[O]: ...
def run_in_process(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    id: str | UUID | None = None,
    attributes: Mapping[str, str] | None = None,
    steps: Mapping[str, Callable[..., Any]] | None = None,
    children: Mapping[str, Child] | None = None,
    signals: Iterable[tuple[str, Any]] = (),
    faults: Iterable[Fault] = (),
    patches: Mapping[str, bool] | None = None,
    now: datetime = BEGINNING,
    allow_unused: bool = False,
) -> InProcessRun[Any]:
    """Execute a run of ``workflow`` in this process until it ends; return the run.

    If it continues as new, that is the last run of the chain.

    Sleeps, pauses before retries and waits take no time. A debugger stops at breakpoints in the
    workflow and its steps. ``id`` and ``attributes`` are as for ``Workflow.run``; ``signals`` are
    pairs of a name and data, each sent when the run waits for it. For the other arguments see
    :class:`InProcessWorker`.

    Raises AssertionError for a replacement, fault, patch or signal that nothing used, for a
    transaction without a replacement, and for a run that can never end. Raises InvalidData and
    NotSerializable for an input that does not fit.
    """
    with InProcessWorker(
        application_of(workflow),
        steps=steps,
        children=children,
        faults=faults,
        patches=patches,
        now=now,
        allow_unused=allow_unused,
    ) as worker:
        run_id = worker.start(workflow, input, id=id, attributes=attributes)
        worker.finish(run_id, signals)
        return worker.read(workflow, worker.last_of(run_id))


def application_of(workflow: Workflow[Any, Any]) -> Registration:
    """Return the OpenWorkflow of a workflow. Raises ConfigurationError if it has none."""
    arguments.check_workflow(workflow)
    application = workflow.starter
    if not isinstance(application, Registration):
        raise ConfigurationError(f"{workflow} belongs to no OpenWorkflow")
    return application
