"""Strategies that make classes, and values of them: pydantic, msgspec and dataclasses."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
import pydantic
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel

T = TypeVar("T")


class Case(NamedTuple):
    """A type, and a value that its constructor has made."""

    type: Any
    value: Any


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Box(pydantic.BaseModel, Generic[T]):
    content: T


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


Pet: Any = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5)
integers = st.integers(-(2**63), 2**63 - 1)
aware = st.datetimes(
    min_value=dt.datetime(1, 1, 2),
    max_value=dt.datetime(9999, 12, 30),
    timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-5, minutes=30))]),
)

PLAIN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, integers),
    (str, text),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    (uuid.UUID, st.uuids()),
    (dt.datetime, aware),
    (dt.date, st.dates()),
    (dt.timedelta, st.timedeltas(dt.timedelta(days=-9999), dt.timedelta(days=9999))),
    (Color, st.sampled_from(Color)),
]
ONLY_PYDANTIC: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (set[int], st.sets(st.integers(-9, 9))),
    (bytes, text.map(str.encode)),
]


def _plain(also: list[tuple[Any, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Case]:
    return st.sampled_from(PLAIN + also).flatmap(
        lambda pair: pair[1].map(lambda value: Case(pair[0], value))
    )


def _within(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    """Containers of a case."""
    return st.one_of(
        cases.map(lambda case: Case(list[case.type], [case.value])),
        cases.map(lambda case: Case(dict[str, case.type], {"key": case.value})),
        cases.map(lambda case: Case(tuple[case.type, int], (case.value, 1))),
        cases.map(lambda case: Case(case.type | None, case.value)),
        cases.map(lambda case: Case(case.type | None, None)),
    )


@st.composite
def _dataclass(draw: st.DrawFn, fields: st.SearchStrategy[list[Case]]) -> Case:
    drawn = draw(fields)
    frozen, slots = draw(st.booleans()), draw(st.booleans())
    uninitialized = draw(st.sets(st.integers(0, len(drawn) - 1)))
    recomputed = draw(st.booleans())
    own = [
        (f"field_{at}", case.type, dataclasses.field(init=at not in uninitialized))
        for at, case in enumerate(drawn)
    ]

    def compute(self: Any) -> None:
        for at in uninitialized:
            object.__setattr__(self, f"field_{at}", None)

    methods = {"__post_init__": compute} if recomputed else {}
    kind = dataclasses.make_dataclass("Made", own, frozen=frozen, slots=slots, namespace=methods)
    value = kind(
        **{f"field_{at}": c.value for at, c in enumerate(drawn) if at not in uninitialized}
    )
    for at in uninitialized:
        object.__setattr__(value, f"field_{at}", drawn[at].value)
    return Case(kind, value)


@st.composite
def _struct(draw: st.DrawFn, fields: st.SearchStrategy[list[Case]]) -> Case:
    drawn = draw(fields)
    kind: Any = msgspec.defstruct(
        "Made",
        [(f"field_{at}", case.type) for at, case in enumerate(drawn)],
        rename=draw(st.sampled_from([None, "camel", "pascal", "kebab"])),
        tag=draw(st.sampled_from([None, True, "made"])),
        array_like=draw(st.booleans()),
        frozen=draw(st.booleans()),
        forbid_unknown_fields=draw(st.booleans()),
    )
    return Case(kind, kind(*(case.value for case in drawn)))


Options = Callable[[st.DrawFn, str], dict[str, Any]]


def faithful_options(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Options of a pydantic field that is read as it is written."""
    alias = name.upper()
    return draw(
        st.sampled_from(
            [
                {},
                {"alias": alias},
                {"validation_alias": alias, "serialization_alias": alias},
                {
                    "validation_alias": pydantic.AliasChoices("other", name),
                    "serialization_alias": name,
                },
                {
                    "validation_alias": pydantic.AliasChoices(alias, pydantic.AliasPath("a", 0)),
                    "serialization_alias": alias,
                },
            ]
        )
    )


def lossy_options(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Options of a pydantic field that does not come back from its own JSON."""
    alias = name.upper()
    return draw(
        st.sampled_from(
            [
                {"exclude": True},
                {"serialization_alias": alias},
                {"alias": alias, "serialization_alias": f"{alias}_OUT"},
                {"validation_alias": pydantic.AliasPath("a", 0)},
            ]
        )
    )


@st.composite
def _model(draw: st.DrawFn, fields: st.SearchStrategy[list[Case]], lossy: bool) -> Case:
    drawn = draw(fields)
    at_fault = draw(st.integers(0, len(drawn) - 1)) if lossy else -1
    by_name = not lossy and draw(st.booleans())
    config = pydantic.ConfigDict(
        frozen=draw(st.booleans()),
        extra=draw(st.sampled_from(["ignore", "forbid", "allow"])),
        validate_by_name=by_name,
        validate_by_alias=True,
        alias_generator=draw(st.sampled_from([None, to_camel])),
    )
    members: dict[str, Any] = {}
    for at, case in enumerate(drawn):
        options = lossy_options if at == at_fault else faithful_options
        members[f"field_{at}"] = (case.type, pydantic.Field(**options(draw, f"field_{at}")))
    kind: Any = pydantic.create_model("Made", __config__=config, **members)
    if draw(st.booleans()):
        kind = _with_computed_field(kind)
    values = {f"field_{at}": case.value for at, case in enumerate(drawn)}
    return Case(kind, kind.model_validate(values, by_name=True))


def _with_computed_field(kind: Any) -> Any:
    def number(self: Any) -> int:
        return 7

    body = {"number": pydantic.computed_field(property(number)), "__module__": __name__}
    return type("Computed", (kind,), body)


def _around_models(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    """pydantic's own containers of a case."""
    return st.one_of(
        cases.map(lambda c: Case(Box[c.type], Box[c.type](content=c.value))),
        cases.map(lambda c: Case(root := pydantic.RootModel[list[c.type]], root([c.value]))),
        cases.map(lambda c: Case(list[c.type], [c.value])),
    )


def _fields(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[list[Case]]:
    return st.lists(cases, min_size=1, max_size=4)


pets = st.tuples(st.sampled_from([Cat, Dog]), text).map(
    lambda pet: Case(
        Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], pet[0](name=pet[1])
    )
)
_simple = st.one_of(_plain([]), _within(_plain([])))
_flat = st.one_of(_dataclass(_fields(_simple)), _struct(_fields(_simple)))
standard = st.one_of(_flat, _dataclass(_fields(st.one_of(_simple, _flat, _within(_flat)))))
"""Dataclasses and msgspec Structs, nested."""

_simple_models = st.one_of(_plain(ONLY_PYDANTIC), _within(_plain(ONLY_PYDANTIC)), pets)
_flat_models = _model(_fields(_simple_models), lossy=False)
_members = st.one_of(_simple_models, _flat_models, _within(_flat_models))
models = st.one_of(
    _flat_models, _model(_fields(_members), lossy=False), _around_models(_flat_models)
)
"""pydantic models that read what they write, nested."""

mixed = _dataclass(_fields(st.one_of(_simple, _flat_models)))
"""Dataclasses with pydantic models in them."""

_flat_lossy = _model(_fields(_simple_models), lossy=True)
lossy_models = st.one_of(
    _flat_lossy,
    _around_models(_flat_lossy),
    _dataclass(_fields(_flat_lossy)),
    _model(_fields(_flat_lossy), lossy=False),
)
"""Types with a pydantic model somewhere that does not read what it writes."""
