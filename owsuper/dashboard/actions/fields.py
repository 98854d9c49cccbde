"""Forms for values: from a JSON Schema to fields of HTML, and from what was typed to JSON.

A form needs no script. What has no simple field (a union, a list, a map, a schema that refers to
itself) is typed as JSON. The workflow's own rules check the value later; here only what a person
has typed is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

_MOST_FIELDS: Final = 60
_DEEPEST: Final = 4  # objects within objects
_TEXTS: Final = {"date": "date", "time": "time"}  # formats with an input of their own
_UNSET: Final[Any] = object()


class InvalidField(Exception):
    """What was typed cannot be read. ``name`` is that of the field."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a form.

    ``name`` is that of the input of HTML: ``value`` and the path, such as ``value.to.city``.
    ``kind`` is text, integer, number, boolean, choice, date, time, json or group. ``choices`` are
    JSON texts. ``default`` is what the form is filled with. A ``nullable`` field that is left empty
    is null, if it is ``required`` or was filled; another one that is not ``required`` is left out.
    ``fields`` are those of a group.
    """

    name: str
    label: str
    kind: str
    required: bool
    nullable: bool = False
    help: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()

    @property
    def may_be_empty(self) -> bool:
        """Whether a person may leave the field empty; empty text is text, too."""
        return not self.required or self.nullable or self.kind == "text"


def fields_of(schema: Mapping[str, Any] | None) -> tuple[Field, ...] | None:
    """Return the fields of a form for a value of this schema; None if JSON suits it better."""
    if schema is None:
        return None
    builder = _Builder(schema)
    root = builder.field(schema, "value", "Value", required=True)
    if root.kind == "json" or builder.count > _MOST_FIELDS:
        return None
    return root.fields if root.kind == "group" else (root,)


def read(schema: Mapping[str, Any], form: Mapping[str, Any]) -> Any:
    """Return the JSON value that was typed into the fields of ``fields_of``.

    Raises InvalidField.
    """
    root = _Builder(schema).field(schema, "value", "Value", required=True)
    return _read(root, form)


def read_json(text: str, name: str) -> Any:
    """Return the value of JSON text; empty text is null. Raises InvalidField with the place."""
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidField(
            name,
            f"This is no JSON: line {error.lineno}, column {error.colno}: {error.msg.lower()}."
            " Text stands between double quotes.",
        ) from None
    except RecursionError:
        raise InvalidField(name, "This JSON is nested too deep.") from None
    except ValueError as error:
        raise InvalidField(name, f"This is no JSON: {error}") from None


def leaves(fields: Sequence[Field]) -> Iterator[Field]:
    """Yield the fields in which something is typed."""
    for each in fields:
        if each.kind == "group":
            yield from leaves(each.fields)
        else:
            yield each


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}.")


# --- from a schema to fields --------------------------------------------------------------------


class _Builder:
    """Makes the fields for one schema. ``count`` is how many there are."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self.count = 0

    def field(
        self,
        schema: Mapping[str, Any],
        name: str,
        label: str,
        *,
        required: bool,
        within: tuple[str, ...] = (),
    ) -> Field:
        """Return the field for a part of the schema."""
        default, title = schema.get("default", _UNSET), schema.get("title")
        schema, nullable, within = self._resolve(schema, within)
        if default is _UNSET:
            default = schema.get("default", _UNSET)
        self.count += 1
        kind, choices, fields = self._kind(schema, name, within)
        if kind == "group" and (not required or nullable):
            kind, fields = "json", ()  # else an empty group would have to mean something
        return Field(
            name=name,
            label=str(title or label),
            kind=kind,
            required=required,
            nullable=nullable,
            help=str(schema.get("description", ""))[:500],
            default=_shown(kind, default),
            choices=choices,
            fields=fields,
        )

    def _kind(
        self, schema: Mapping[str, Any], name: str, within: tuple[str, ...]
    ) -> tuple[str, tuple[str, ...], tuple[Field, ...]]:
        """Return the kind of a field, its choices, and its fields."""
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if isinstance(values, list):
            return "choice", tuple(json.dumps(each, ensure_ascii=False) for each in values), ()
        match schema.get("type"):
            case "string":
                return _TEXTS.get(str(schema.get("format")), "text"), (), ()
            case "integer" | "number" | "boolean" as kind:
                return kind, (), ()
            case "object" if self._has_fields(schema) and len(within) < _DEEPEST:
                wanted = schema.get("required", [])
                made = (
                    self.field(
                        each if isinstance(each, dict) else {},
                        f"{name}.{key}",
                        str(key),
                        required=key in wanted,
                        within=within,
                    )
                    for key, each in schema["properties"].items()
                )
                return "group", (), tuple(made)
        return "json", (), ()

    def _has_fields(self, schema: Mapping[str, Any]) -> bool:
        open_ended = schema.get("additionalProperties") not in (None, False, True)
        return bool(schema.get("properties")) and not open_ended

    def _resolve(
        self, schema: Mapping[str, Any], within: tuple[str, ...]
    ) -> tuple[Mapping[str, Any], bool, tuple[str, ...]]:
        """Follow references; take null out of a union. Return the schema, and whether null fits."""
        nullable = False
        while True:
            if isinstance(reference := schema.get("$ref"), str):
                if reference in within:
                    return {}, nullable, within  # it contains itself
                schema, within = self._referred(reference), (*within, reference)
                continue
            several = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []
            others = [each for each in several if each != {"type": "null"}]
            nullable |= len(others) < len(several)
            if len(others) != 1 or not isinstance(others[0], dict):
                break
            rest = {key: each for key, each in schema.items() if key in ("title", "description")}
            schema = {**others[0], **rest}
        if isinstance(kinds := schema.get("type"), list):
            nullable |= "null" in kinds
            left = [each for each in kinds if each != "null"]
            schema = {**schema, "type": left[0] if len(left) == 1 else None}
        return schema, nullable, within

    def _referred(self, reference: str) -> Mapping[str, Any]:
        found: Any = self._root
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}


def _shown(kind: str, default: Any) -> str:
    """Return a default as it stands in the field."""
    if default is _UNSET or default is None:
        return ""
    if kind in ("text", "date", "time") and isinstance(default, str):
        return default
    return json.dumps(default, ensure_ascii=False)


# --- from what was typed to JSON ----------------------------------------------------------------


def _read(field: Field, form: Mapping[str, Any]) -> Any:
    if field.kind == "group":
        found = ((each, _read(each, form)) for each in field.fields)
        return {each.name.rpartition(".")[2]: value for each, value in found if value is not _UNSET}
    text = str(form.get(field.name, ""))
    if not text.strip() and not (field.kind == "text" and field.required and not field.nullable):
        if field.nullable and (field.required or field.default):
            return None
        if not field.required:
            return _UNSET
        raise InvalidField(field.name, f"{field.label}: a value is required.")
    return _parsed(field, text)


def _parsed(field: Field, text: str) -> Any:
    match field.kind:
        case "integer":
            try:
                return int(text)
            except ValueError:
                raise InvalidField(
                    field.name, f"{field.label}: {text!r:.40} is no whole number."
                ) from None
        case "number":
            return _number(field, text)
        case "boolean":
            if text not in ("true", "false"):
                raise InvalidField(field.name, f"{field.label}: choose yes or no.")
            return text == "true"
        case "choice":
            if text not in field.choices:
                raise InvalidField(field.name, f"{field.label}: choose one of the values.")
            return json.loads(text)
        case "json":
            return read_json(text, field.name)
    return text


def _number(field: Field, text: str) -> int | float:
    try:
        value = int(text)
    except ValueError:
        pass
    else:
        return value
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidField(field.name, f"{field.label}: {text!r:.40} is no number.")
    return number
