"""What a dashboard shows, and whether its pages may change anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from owsuper.workflow.definition import Workflow

Scope: TypeAlias = Mapping[str, Any]
UserOf: TypeAlias = Callable[[Any], str | None]
"""Returns the name of the user from the scope of a request, or None to refuse."""

WorkflowKey: TypeAlias = tuple[str, str | None]
"""Name and version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``workflows`` are those whose types are known, by name and version."""

    allow_actions: bool = False
    hide_values: bool = False
    workflows: Mapping[WorkflowKey, Workflow[Any, Any]] = field(default_factory=dict)
