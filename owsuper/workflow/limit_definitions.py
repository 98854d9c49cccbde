"""The limits of an application, as a worker stores them for all hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from owsuper.workflow.registry import Registry


def describe_limits(registry: Registry) -> str:
    """Return the limits of all workflows as a JSON array; empty text without any.

    Each is a ``core.limits.definition`` with the names of its ``workflows``.
    """
    users: dict[str, set[str]] = {}
    definitions: dict[str, dict[str, Any]] = {}
    for workflow in registry:
        for limit in workflow.limits:
            from owsuper.core.limits import definition  # few programs need it

            name = str(limit.name)
            definitions[name] = definition(limit)
            users.setdefault(name, set()).add(workflow.name)
    if not definitions:
        return ""
    documents = [
        {**definitions[name], "workflows": sorted(users[name])} for name in sorted(definitions)
    ]
    return orjson.dumps(documents).decode()
