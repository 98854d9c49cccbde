"""What a new run stores in its ``config``: its priority, and the keys of its limits."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from owsuper.core import codec
from owsuper.core.names import is_storable
from owsuper.core.priority import check_priority
from owsuper.errors import InvalidData
from owsuper.step.requests import Startable

if TYPE_CHECKING:
    from owsuper.core.limits import Limit

# Keys are parts of index entries. SQL cuts what is longer.
_MAX_KEY: Final = 500  # characters


def config_of(
    workflow: Startable[Any, Any] | str,
    raw: bytes | None,
    priority: int | None = None,
    *,
    path: str = "input",
) -> dict[str, Any] | None:
    """Return the config of a run with the input ``raw``; None for a run without options.

    Without a ``priority``, the run has that of its workflow, and 0 if it is given by name. ``path``
    names the input in errors. Raises ConfigurationError for a priority that is none, and
    InvalidData for an input without a limit's key, or with a value that cannot be one.
    """
    if not isinstance(workflow, Startable):
        chosen = 0 if priority is None else check_priority(priority)
        return {"owsuper": {"priority": chosen}} if chosen else None
    chosen = workflow.priority if priority is None else check_priority(priority)
    if not chosen and not workflow.limits:
        return None
    options: dict[str, Any] = {"priority": chosen} if chosen else {}
    if workflow.limits:
        options["keys"] = _keys(workflow, raw, path)
    return {"owsuper": options}


def _keys(workflow: Startable[Any, Any], raw: bytes | None, path: str) -> dict[str, str]:
    keyed = [each for each in workflow.limits if each.key is not None]
    if not keyed:
        return {}
    stored = codec.decode(raw)
    return {str(each.name): limit_key(workflow, each, stored, path) for each in keyed}


def limit_key(workflow: Startable[Any, Any], limit: Limit, stored: Any, path: str = "input") -> str:
    """Return the key of a limit for a run with the ``stored`` input, a JSON value.

    Raises InvalidData, and what the limit's function raises.
    """
    value: Any
    if isinstance(limit.key, str):
        value, place = _look_up(workflow, limit, stored, path), f"{path}.{limit.key}"
    else:
        assert limit.key is not None
        place = f'the key of the limit "{limit.name}"'
        value = limit.key(codec.convert(stored, workflow.input_type, path=path))
    is_number = isinstance(value, (int, float)) and math.isfinite(value)
    if value is not None and not isinstance(value, str) and not is_number:
        raise InvalidData(
            f"{place} of {workflow}: {value!r:.60} cannot be the key of a limit. Use text, a"
            " number, a bool or null.",
            path=place,
        )
    text = key_text(value)
    if len(text) > _MAX_KEY or not is_storable(text):
        raise InvalidData(
            f"{place} of {workflow}: {value!r:.60} cannot be the key of a limit. It has"
            f" {len(text)} characters; use at most {_MAX_KEY}, without U+0000.",
            path=place,
        )
    return text


def _look_up(workflow: Startable[Any, Any], limit: Limit, stored: Any, path: str) -> Any:
    value, place = stored, path
    for name in str(limit.key).split("."):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise InvalidData(
                f'{place} of {workflow}: it has no "{name}", and the limit "{limit.name}" needs'
                f' "{limit.key}" for its key. Pass it, with null if the run has none.',
                path=place,
            )
        place = f"{place}.{name}"
    return value


def key_text(value: str | float | None) -> str:
    """Return ``value`` as PostgreSQL writes a value of ``jsonb`` as text; null is ``null``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value or 0.0)), "f")
    return str(value)
