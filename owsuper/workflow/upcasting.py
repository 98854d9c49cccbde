"""Checks and registers the upcasts of a workflow."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

from owsuper.core import upcasts
from owsuper.core.names import check_step_name
from owsuper.errors import ConfigurationError, RegistrationError
from owsuper.workflow.signature import UnresolvedAnnotation

if TYPE_CHECKING:
    from owsuper.step.requests import Startable


def check(workflow: Startable[Any, Any], step: str | None, *, result: bool) -> None:
    """Raise ConfigurationError for an upcast of what cannot need one."""
    if step is not None and result:
        raise ConfigurationError(
            f"{workflow}: an upcast is for a step or for the result. Pass step= or result=True, not"
            " both."
        )
    if step is not None:
        check_step_name(step)
        return
    if not result and not workflow.takes_input:
        raise ConfigurationError(
            f"{workflow} takes no input. Use .upcast(result=True) for its result, or"
            ' .upcast(step="its name") for the result of a step.'
        )
    with contextlib.suppress(UnresolvedAnnotation):  # a class may be defined further down
        declared = workflow.output_type if result else workflow.input_type
        if declared is Any or declared is object:
            what = "result" if result else "input"
            raise ConfigurationError(
                f"{workflow}: its {what} has no type, so that any value fits, and an upcast would"
                f" never be called. Annotate the {what}."
            )


def register(
    workflow: Startable[Any, Any], function: Any, step: str | None, *, result: bool
) -> None:
    """Register an upcast. Raises ConfigurationError and RegistrationError."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        kind = "an async function" if callable(function) else f"{function!r:.60}"
        raise ConfigurationError(
            f"{workflow}: an upcast is a def function of the stored value, not {kind}"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise ConfigurationError(
            f"{workflow}: an upcast takes one argument, the stored value, and {function!r:.60}"
            " cannot be called with that alone"
        ) from None
    own = workflow.upcasts
    if step is not None:
        what, known = f"step {step!r}", own.steps.get(step)
    elif result:
        what, known = "its result", own.result
    else:
        what, known = "its input", own.input
    if known is not None:
        raise RegistrationError(
            f"{workflow} has an upcast of {what} already, {upcasts.name_of(known)}. Upgrade all"
            " older values in one function."
        )
    if step is not None:
        own.steps[step] = function
    elif result:
        own.result = function
    else:
        own.input = function
