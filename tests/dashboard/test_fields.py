"""Forms from JSON Schema: which fields a type gets, and which JSON is made of what is typed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field

from owsuper.dashboard.actions.fields import (
    InvalidField,
    fields_of,
    leaves,
    read,
    read_json,
)
from owsuper.workflow.description import schema_of


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Address:
    city: str
    zip: str | None


@dataclasses.dataclass
class Order:
    number: int
    weight: float
    express: bool
    color: Color
    size: Literal["S", "M"]
    day: dt.date
    at: dt.datetime
    to: Address
    note: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)
    copies: int = 1
    gift: Address | None = None


TYPED = {
    "value.number": "7",
    "value.weight": "1.5",
    "value.express": "true",
    "value.color": '"red"',
    "value.size": '"M"',
    "value.day": "2026-03-01",
    "value.at": "2026-03-01T12:00:00Z",
    "value.to.city": "Bern",
    "value.to.zip": "",
    "value.note": "",
    "value.tags": '["a", "b"]',
    "value.copies": "2",
    "value.gift": "",
}
ORDER = {
    "number": 7,
    "weight": 1.5,
    "express": True,
    "color": "red",
    "size": "M",
    "day": "2026-03-01",
    "at": "2026-03-01T12:00:00Z",
    "to": {"city": "Bern", "zip": None},
    "tags": ["a", "b"],
    "copies": 2,
}


def schema(type_: Any) -> dict[str, Any]:
    found = schema_of(type_)
    assert found is not None
    return found


def test_each_kind_of_value_has_its_field() -> None:
    fields = fields_of(schema(Order))
    assert fields is not None
    kinds = {each.name.removeprefix("value."): each.kind for each in leaves(fields)}
    assert kinds == {
        "number": "integer",
        "weight": "number",
        "express": "boolean",
        "color": "choice",
        "size": "choice",
        "day": "date",
        "at": "text",
        "to.city": "text",
        "to.zip": "text",
        "note": "text",
        "tags": "json",
        "copies": "integer",
        "gift": "json",
    }
    defaults = {each.label: each.default for each in leaves(fields) if each.default}
    assert defaults == {"tags": "[]", "copies": "1"}
    assert {each.label for each in leaves(fields) if not each.required} == {
        *("note", "tags", "copies", "gift")
    }


def test_what_is_typed_becomes_json_that_fits_the_type() -> None:
    value = read(schema(Order), TYPED)
    assert value == ORDER
    assert msgspec.convert(value, Order).to.city == "Bern"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("number", "7.5", "number: '7.5' is no whole number."),
        ("number", "", "number: a value is required."),
        ("weight", "nan", "weight: 'nan' is no number."),
        ("express", "maybe", "express: choose yes or no."),
        ("size", '"XXL"', "size: choose one of the values."),
        ("tags", '["a",\n  b]', "This is no JSON: line 2, column 3: expecting value."),
        ("day", " ", "day: a value is required."),
    ],
)
def test_what_cannot_be_read_names_its_field(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read(schema(Order), TYPED | {f"value.{name}": text})
    assert caught.value.name == f"value.{name}"
    assert caught.value.message.startswith(message)


def test_a_model_of_pydantic_gives_titles_and_help() -> None:
    class Mail(BaseModel):
        to: str = Field(title="Recipient", description="An address.")
        copies: int | None = None

    fields = fields_of(schema(Mail))
    assert fields is not None
    assert (fields[0].label, fields[0].help) == ("Recipient", "An address.")
    assert read(schema(Mail), {"value.to": "", "value.copies": ""}) == {"to": ""}
    assert read(schema(Mail), {"value.to": "a", "value.copies": "3"}) == {"to": "a", "copies": 3}


def test_a_default_that_is_deleted_is_null_where_null_fits() -> None:
    class Mail(BaseModel):
        copies: int | None = 3
        note: str | None = "thanks"
        size: int = 1

    emptied = {"value.copies": "", "value.note": "", "value.size": ""}
    assert read(schema(Mail), emptied) == {"copies": None, "note": None}


class Tree(msgspec.Struct):
    name: str
    left: Tree | None = None


def test_a_type_that_contains_itself_has_a_field_for_json() -> None:
    fields = fields_of(schema(Tree))
    assert fields is not None
    assert [each.kind for each in fields] == ["text", "json"]


@pytest.mark.parametrize("type_", [int, str, bool, Color])
def test_a_value_that_is_no_object_has_one_field(type_: Any) -> None:
    fields = fields_of(schema(type_))
    assert fields is not None
    assert [each.name for each in fields] == ["value"]


@pytest.mark.parametrize("type_", [list[int], dict[str, int], int | str, Order | None])
def test_what_no_field_suits_is_typed_as_json(type_: Any) -> None:
    assert fields_of(schema(type_)) is None


def test_a_type_with_a_hundred_fields_is_typed_as_json() -> None:
    many = dataclasses.make_dataclass("many", [(f"f{n}", int) for n in range(100)])
    assert fields_of(schema(many)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'a': 1}", "line 1, column 2: expecting property name"),
        ("NaN", "JSON has no NaN"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_text_that_is_no_json_is_told_where(text: str, message: str) -> None:
    with pytest.raises(InvalidField, match=message):
        read_json(text, "value")


def test_nothing_typed_is_null() -> None:
    assert read_json(" \n", "value") is None
    assert read_json("7", "value") == 7
