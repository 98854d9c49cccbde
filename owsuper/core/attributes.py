"""Attributes of runs: the rules for them, and the step attempts that record changes by the code.

Such an attempt is a completed function step with the changes as its output. Its context says what
it is; other implementations ignore it. The name of the step has the names of the attributes, so
that branches which change different attributes may do so in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from owsuper.core.names import is_storable
from owsuper.errors import ConfigurationError

Attributes: TypeAlias = dict[str, str]
AttributeChanges: TypeAlias = dict[str, str | None]
"""New values by name; None removes an attribute."""

MOST: Final = 50
"""The most attributes in one call."""
LONGEST_NAME: Final = 64  # characters; the table says the same, for which see 0028_run_attributes
LONGEST_VALUE: Final = 256

ATTRIBUTES_CONTEXT: Final[dict[str, Any]] = {"kind": "attributes"}
_PREFIX: Final = "attributes:"
_LONGEST_LIST: Final = 200  # characters of names in the name of a step


def check_attributes(
    attributes: Mapping[str, str] | None, parameter: str = "attributes"
) -> Attributes:
    """Return a copy of ``attributes``, of which None are none.

    Raises ConfigurationError, which begins with the name of the ``parameter``.
    """
    if attributes is None:
        return {}
    checked = _checked(attributes, parameter)
    for name, value in checked.items():
        _check_value(value, f"{parameter}[{name!r}]")
    return checked


def check_changes(changes: Mapping[str, str | None]) -> AttributeChanges:
    """Return a copy of the changes. Raises ConfigurationError."""
    checked = _checked(changes, "set_attributes")
    for name, value in checked.items():
        if value is not None:
            _check_value(value, f"set_attributes: {name!r}")
    if not checked:
        raise ConfigurationError("set_attributes: pass at least one attribute")
    return checked


def _checked(given: Any, parameter: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{parameter}: must be a mapping of names to texts, such as {{'tenant': '7'}}, not"
            f" {given!r:.60}"
        )
    if len(given) > MOST:
        raise ConfigurationError(
            f"{parameter}: at most {MOST} attributes are allowed, not {len(given)}. Keep data in"
            " the input, and what you search for in attributes."
        )
    for name in given:
        _check_text(name, f"{parameter}: the name {name!r:.60}")
        if not 1 <= len(name) <= LONGEST_NAME:
            raise ConfigurationError(
                f"{parameter}: the name {name!r:.60} must have 1 to {LONGEST_NAME} characters"
            )
    return dict(given)


def _check_value(value: Any, owner: str) -> None:
    _check_text(value, f"{owner}: the value {value!r:.60}")
    if len(value) > LONGEST_VALUE:
        raise ConfigurationError(
            f"{owner}: the value has {len(value)} characters. Use at most {LONGEST_VALUE}."
        )


def _check_text(text: Any, owner: str) -> None:
    if not isinstance(text, str):
        raise ConfigurationError(f"{owner} must be text, such as {str(text)!r:.60}")
    if not is_storable(text):
        raise ConfigurationError(
            f"{owner} contains U+0000 or a lone surrogate, which PostgreSQL cannot store"
        )


def step_name(names: Iterable[str]) -> str:
    """Return the name of the step that records a change of these attributes."""
    listed = ",".join(sorted(names))
    if len(listed) > _LONGEST_LIST:
        listed = hashlib.sha256(listed.encode()).hexdigest()[:16]
    return _PREFIX + listed
