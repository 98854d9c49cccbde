"""The workflows of a program, by name and version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from owsuper.errors import RegistrationError
from owsuper.workflow.definition import Workflow


class Registry:
    """The workflows of one OpenWorkflow. Version None and version "" are two versions."""

    def __init__(self) -> None:
        self._workflows: dict[tuple[str, str | None], Workflow[Any, Any]] = {}

    def add(self, workflow: Workflow[Any, Any]) -> None:
        """Add a workflow. Raises RegistrationError if another has this name and version."""
        key = (workflow.name, workflow.version)
        if first := self._workflows.get(key):
            raise RegistrationError(
                f"W{str(workflow)[1:]} is already registered, by {_place(first.fn)}, and again by"
                f" {_place(workflow.fn)}. Give one of them another name or version."
            )
        self._workflows[key] = workflow

    def get(self, name: str, version: str | None = None) -> Workflow[Any, Any] | None:
        """Return the workflow of exactly this name and version; None if there is none."""
        return self._workflows.get((name, version))

    def names(self) -> list[tuple[str, str | None]]:
        """Return the names and versions, in the order of registration."""
        return list(self._workflows)

    def __iter__(self) -> Iterator[Workflow[Any, Any]]:
        return iter(self._workflows.values())

    def __len__(self) -> int:
        return len(self._workflows)


def _place(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{fn.__module__}.{fn.__qualname__}{where}"
