"""The workflows of a program, by name and version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from owsuper.errors import ConfigurationError, RegistrationError
from owsuper.workflow import interactive
from owsuper.workflow.definition import Workflow

if TYPE_CHECKING:
    from owsuper.workflow.scheduling import Declaration

_Key = tuple[str, str | None]


class Registry:
    """The workflows of one OpenWorkflow. Version None and version "" are two versions.

    A version that is not registered is that of the newest workflow that is compatible with it. Of
    two of these, the one that is compatible with the other is newer.
    """

    def __init__(self) -> None:
        self._workflows: dict[_Key, Workflow[Any, Any]] = {}
        self._compatible: dict[_Key, list[Workflow[Any, Any]]] = {}
        """The workflows that are compatible with a version, the newest first."""
        self._limited: set[str] = set()  # names of workflows with limits

    def add(self, workflow: Workflow[Any, Any]) -> None:
        """Add a workflow.

        A function that is defined again in an interactive session takes the place of the first.
        Raises RegistrationError if another has this name and version, or if it is not clear which
        of two is newer, and ConfigurationError if another defines a limit of its differently, or
        shares one that decides about starts, or if another version has other limits.
        """
        key = (workflow.name, workflow.version)
        first = self._workflows.get(key)
        if first is not None and not interactive.is_redefined(first.fn, workflow.fn):
            raise RegistrationError(
                f"W{str(workflow)[1:]} is already registered, by {_place(first.fn)}, and again by"
                f" {_place(workflow.fn)}. Give one of them another name or version."
            )
        if workflow.limits or workflow.name in self._limited:
            self._check_limits(workflow, first)
            self._limited.add(workflow.name)
        others = {
            compatible: [each for each in found if each is not first]
            for compatible, found in self._compatible.items()
        }
        ordered = {
            (workflow.name, version): _newest_first(
                [*others.get((workflow.name, version), ()), workflow], version
            )
            for version in workflow.compatible_with
        }
        self._workflows[key] = workflow
        self._compatible = {key: found for key, found in (others | ordered).items() if found}

    def _check_limits(self, workflow: Workflow[Any, Any], first: Workflow[Any, Any] | None) -> None:
        from owsuper.core.limits import differing, shared_decision  # few programs need it

        for each in self._workflows.values():
            if each is not first and (name := differing(each.limits, workflow.limits)):
                raise ConfigurationError(
                    f'limits: {workflow} and {each} define the limit "{name}" differently. Define'
                    " it once and pass it to both, or give one of them another name."
                )
            if (
                each is not first
                and each.name == workflow.name
                and (
                    {limit.name for limit in each.limits}
                    != {limit.name for limit in workflow.limits}
                )
            ):
                raise ConfigurationError(
                    f"limits: {workflow} and {each} have different ones. Limits are those of a"
                    " workflow, whatever its version: pass the same to both."
                )
            if each.name != workflow.name and (
                name := shared_decision(each.limits, workflow.limits)
            ):
                raise ConfigurationError(
                    f'limits: {workflow} and {each} share the limit "{name}", which has an'
                    " on_conflict: a start of one would return a run of the other. Give each a"
                    " limit of its own."
                )

    def get(self, name: str, version: str | None = None) -> Workflow[Any, Any] | None:
        """Return the workflow of this name and version, or the newest that is compatible with it.

        Returns None if there is none.
        """
        key = (name, version)
        exact = self._workflows.get(key)
        if exact is None and (compatible := self._compatible.get(key)):
            return compatible[0]
        return exact

    def names(self) -> list[tuple[str, str | None]]:
        """Return the names and versions, in the order of registration; then compatible versions."""
        return list(dict.fromkeys([*self._workflows, *self._compatible]))

    def concurrency(self) -> dict[str, int]:
        """Return the most runs at once in one worker, by name, of workflows that bound it.

        The versions of a workflow share the bound: the lowest that any of them has.
        """
        bounds: dict[str, int] = {}
        for workflow in self:
            if workflow.concurrency is not None:
                known = bounds.get(workflow.name, workflow.concurrency)
                bounds[workflow.name] = min(known, workflow.concurrency)
        return bounds

    def __iter__(self) -> Iterator[Workflow[Any, Any]]:
        return iter(self._workflows.values())

    def __len__(self) -> int:
        return len(self._workflows)


class DeclaredSchedules:
    """The schedules that a program declares, by name."""

    def __init__(self) -> None:
        self._declared: dict[str, Declaration] = {}

    def add(self, declaration: Declaration) -> None:
        """Add a schedule. One of a workflow that is defined again takes the place of the first.

        Raises RegistrationError if another has this name.
        """
        first = self._declared.get(declaration.name)
        if first is not None and not interactive.is_redefined(
            _function_of(first), _function_of(declaration)
        ):
            raise RegistrationError(
                f'Two schedules are named "{declaration.name}": of workflow'
                f' "{first.workflow.name}", and of workflow "{declaration.workflow.name}". Give one'
                " of them another name, with name=."
            )
        self._declared[declaration.name] = declaration

    def __iter__(self) -> Iterator[Declaration]:
        return iter(list(self._declared.values()))

    def __len__(self) -> int:
        return len(self._declared)


def _function_of(declaration: Declaration) -> object:
    return getattr(declaration.workflow, "fn", None)


def _newest_first(
    candidates: list[Workflow[Any, Any]], version: str | None
) -> list[Workflow[Any, Any]]:
    """Return workflows that are compatible with ``version``, the newest first."""
    ordered: list[Workflow[Any, Any]] = []
    left = list(candidates)
    while left:
        older = {known for each in left for known in each.compatible_with}
        newest = [each for each in left if each.version not in older]
        if len(newest) != 1:
            one, other, *_ = newest or left
            raise RegistrationError(
                f"Both {one} and {other} are compatible with version {version!r}, and it is not"
                " clear which of them is newer. Let the newer one, and only that, be"
                " compatible_with the other."
            )
        ordered += newest
        left.remove(newest[0])
    return ordered


def _place(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{fn.__module__}.{fn.__qualname__}{where}"
