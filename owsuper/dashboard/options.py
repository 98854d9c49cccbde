"""What a dashboard shows, and whether its pages may change anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from owsuper.dashboard.known import KnownWorkflows

UserOf: TypeAlias = Callable[[Any], str | None]
"""Returns the name of the user from the scope of a request, or None to refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``known`` are the workflows whose types are known."""

    allow_actions: bool = False
    hide_values: bool = False
    known: KnownWorkflows
