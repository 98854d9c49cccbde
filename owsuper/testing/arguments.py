"""Checks what a test passes, so that a mistake is named before anything is executed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from owsuper.client.registration import Registration
from owsuper.errors import ConfigurationError
from owsuper.testing.faults import CommitFault, Fault, StepFault
from owsuper.workflow.definition import Workflow


def check_time(now: object) -> None:
    """Raise ConfigurationError for what is no aware datetime."""
    if not isinstance(now, datetime) or now.utcoffset() is None:
        missing = "has no time zone" if isinstance(now, datetime) else "is no time"
        raise ConfigurationError(f"now: {now!r:.60} {missing}; pass an aware datetime")


def check_application(application: object) -> None:
    """Raise ConfigurationError for what is no OpenWorkflow."""
    if not isinstance(application, Registration):
        raise ConfigurationError(
            f"expected the OpenWorkflow of the workflows, not {application!r:.60}"
        )


def check_workflow(workflow: object) -> None:
    """Raise ConfigurationError for what is no workflow."""
    if not isinstance(workflow, Workflow):
        raise ConfigurationError(
            f"expected a workflow, such as a function with @ow.workflow, not {workflow!r:.60}"
        )


def named(parameter: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of ``values``. Raises ConfigurationError for what has no names."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigurationError(
            f"{parameter}: expected a dict by names, such as {{'charge': ...}}, not {values!r:.60}"
        )
    return dict(values)


def faults_of(faults: Iterable[Fault]) -> tuple[list[StepFault], list[CommitFault]]:
    """Return the faults in steps, and those after commits. Raises ConfigurationError."""
    in_steps: list[StepFault] = []
    after_commits: list[CommitFault] = []
    if not isinstance(faults, Iterable):
        raise ConfigurationError(f"faults: expected a list of faults, not {faults!r:.60}")
    for fault in faults:
        if isinstance(fault, StepFault):
            in_steps.append(fault)
        elif isinstance(fault, CommitFault):
            after_commits.append(fault)
        else:
            raise ConfigurationError(
                f"faults: expected what fail, fail_once, crash_in or crash_after returns, not"
                f" {fault!r:.60}"
            )
    return in_steps, after_commits


def signals_of(signals: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the signals as a list. Raises ConfigurationError for what are no pairs."""
    if isinstance(signals, (str, Mapping)) or not isinstance(signals, Iterable):
        raise _no_pair(signals)
    found: list[tuple[str, Any]] = []
    for each in signals:
        if not (isinstance(each, tuple | list) and len(each) == 2 and isinstance(each[0], str)):
            raise _no_pair(each)
        found.append((each[0], each[1]))
    return found


def _no_pair(given: object) -> ConfigurationError:
    return ConfigurationError(
        "signals: expected a list of pairs of a name and data, such as [('paid', None)], not"
        f" {given!r:.60}"
    )
