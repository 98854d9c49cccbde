"""What a new run stores in its ``config``: its priority."""

from __future__ import annotations

from typing import Any

from owsuper.core.priority import check_priority
from owsuper.step.requests import Startable


def config_of(
    workflow: Startable[Any, Any] | str, priority: int | None = None
) -> dict[str, Any] | None:
    """Return the config of a run; None for a run without options.

    Without a ``priority``, the run has that of its workflow, and 0 if it is given by name. Raises
    ConfigurationError for a priority that is none.
    """
    if priority is not None:
        chosen = check_priority(priority)
    else:
        chosen = workflow.priority if isinstance(workflow, Startable) else 0
    return {"owsuper": {"priority": chosen}} if chosen else None
