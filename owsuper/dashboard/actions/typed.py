"""What a person types as a value: in fields that follow a type, or as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from owsuper.dashboard.actions.fields import Field, fields_of, read, read_json
from owsuper.dashboard.actions.performing import was_kept
from owsuper.dashboard.known import ApplicationFailed
from owsuper.dashboard.visit import Visit

_log = logging.getLogger("owsuper.dashboard")


@dataclass(frozen=True, slots=True)
class ValueForm:
    """A form for a value. ``fields`` is None if there is no form but JSON.

    ``typed`` is what stands in the fields, ``errors`` what is wrong, both by the name of the field.
    ``lost``: the action is asked for again, and what was typed the first time was not kept.
    """

    fields: tuple[Field, ...] | None
    typed: Mapping[str, str]
    errors: Mapping[str, str]
    schema: Mapping[str, Any] | None
    lost: bool = False

    @property
    def shown_schema(self) -> str:
        """The schema as text, for people who type JSON; empty without one."""
        return "" if self.schema is None else json.dumps(self.schema, indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class TypedValue:
    """A value, its text, and whether the type is to check it."""

    value: Any
    text: str
    checked: bool


def empty(schema: Mapping[str, Any] | None) -> ValueForm:
    """Return the form as it is shown first."""
    return ValueForm(fields_of(schema), {}, {}, schema)


def again(
    visit: Visit, schema: Mapping[str, Any] | None, before: Mapping[str, Any], name: str
) -> ValueForm:
    """Return the form as it is shown first, with the arguments of an action that is repeated."""
    if name not in before:
        return empty(schema)
    if not was_kept(visit, before[name]):
        return ValueForm(fields_of(schema), {}, {}, schema, lost=True)
    typed = {"json": json.dumps(before[name], indent=2, ensure_ascii=False)}
    if before.get("buffer"):
        typed["buffer"] = "1"
    return ValueForm(fields_of(schema), typed, {}, schema)


def refused(visit: Visit, schema: Mapping[str, Any] | None, name: str, message: str) -> ValueForm:
    """Return the form as it was sent, with a message at a field."""
    typed = {str(key): str(value) for key, value in visit.form.items()}
    return ValueForm(fields_of(schema), typed, {name: message}, schema)


def value_of(visit: Visit, schema: Mapping[str, Any] | None) -> TypedValue:
    """Return what was sent, by one of the two buttons. Raises InvalidField."""
    if visit.field("as") == "fields" and schema is not None and fields_of(schema) is not None:
        value = read(schema, visit.form)
        return TypedValue(value, json.dumps(value), checked=True)
    text = visit.field("json")
    return TypedValue(read_json(text, "json"), text, checked=bool(visit.field("check")))


def unchecked(what: str, error: ApplicationFailed) -> str:
    """Return what a person is told if the application cannot check a value; log why.

    The error of an import may hold anything, such as the address of a database with its password.
    """
    _log.error("a value cannot be checked: %s%s", error, f"\n{error.traceback or ''}".rstrip())
    return (
        f"The {what} cannot be checked, because the application cannot be imported any more. The"
        " log of the dashboard says why. JSON can also be sent unchecked."
    )


def field_at(path: str, form_as: str) -> str:
    """Return the name of the field for the path of a refusal, such as ``input.to.city``."""
    if form_as != "fields":
        return "json"
    _, dot, rest = path.partition(".")
    return f"value{dot}{rest}"
