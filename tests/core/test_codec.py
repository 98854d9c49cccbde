"""What may be stored, in which form, and how a refusal names its place."""

import datetime as dt
import decimal
import enum
import math
import re
import sys
import types
import uuid
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import orjson
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.codec import as_stored, decode, encode, encoding
from owsuper.errors import NotSerializable

NOON = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)


@dataclass
class Item:
    when: Any
    _private: int = 1


@dataclass(slots=True)
class Slotted:
    a: int
    b: Any = None


@dataclass
class Empty:
    pass


@dataclass
class ClassLevel:
    limit: int = field(default=3, init=False)


@dataclass(slots=True)
class OneSlot:
    a: int


@dataclass
class Mixed(OneSlot):
    b: int = 2


class Point(NamedTuple):
    x: int
    y: int


class Struct(msgspec.Struct, rename="camel", tag="kind-a", tag_field="kind"):
    first_name: str
    age: int | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct, array_like=True, tag=True):
    a: int


class Model(pydantic.BaseModel):
    tags: set[int]
    price: decimal.Decimal
    nick: str = pydantic.Field(alias="nickName")


@pydantic.dataclasses.dataclass
class Checked:
    a: int
    b: set[int]


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.Enum):
    HIGH = 3
    PAIR = (1, 2)
    NAN = math.nan


class Text(str):
    pass


class Real(float):
    pass


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (False, False),
        (0, 0),
        ("", ""),
        ([], []),
        ({}, {}),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        ((1, (2,)), [1, [2]]),
        (Point(1, 2), [1, 2]),
        (Text("a"), "a"),
        (Real(1.5), 1.5),
        ({Color.RED: Color.RED, Text("k"): 1}, {"red": "red", "k": 1}),
        ([Level.HIGH, Level.PAIR], [3, [1, 2]]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(int, a=1), {"a": 1}),
        (Item(None), {"when": None, "_private": 1}),
        ([Slotted(1, Slotted(2))], [{"a": 1, "b": {"a": 2, "b": None}}]),
        (Struct("Ada"), {"kind": "kind-a", "firstName": "Ada"}),
        (Struct("Ada", 36), {"kind": "kind-a", "firstName": "Ada", "age": 36}),
        (Row(1), ["Row", 1]),
        (
            Item(Model(tags={1}, price="1.50", nickName="x")),
            {"when": {"tags": [1], "price": "1.50", "nickName": "x"}, "_private": 1},
        ),
        (Checked(1, {2}), {"a": 1, "b": [2]}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), "1.50"),
        (dt.timedelta(days=1, seconds=2), "P1DT2S"),
        (dt.date(2030, 1, 1), "2030-01-01"),
        (dt.time(1, 2), "01:02:00"),
        (NOON, "2030-01-01T12:00:00+00:00"),
        (NOON.replace(microsecond=1), "2030-01-01T12:00:00.000001+00:00"),
        ("null", "null"),
        (["null", r"\u0000", None], ["null", r"\u0000", None]),
        ({"null": None, "b": [None, 1.5]}, {"null": None, "b": [None, 1.5]}),
    ],
    ids=repr,
)
def test_values_are_written_as_json(value, written):
    raw = encode(value, path="result")
    assert orjson.dumps(orjson.loads(raw)) == orjson.dumps(written)
    looked_into = encode([None, value, r"\u0000"], path="result")
    assert decode(looked_into) == [None, decode(raw), r"\u0000"]


def test_only_the_fields_of_an_object_are_written():
    item = Item(1)
    item.cached = 2
    assert decode(encode(item, path="result")) == {"when": 1, "_private": 1}
    assert decode(encode([Empty(), ClassLevel()], path="result")) == [{}, {"limit": 3}]
    assert decode(encode([Mixed(1)], path="result")) == [{"a": 1, "b": 2}]


def test_an_offset_with_seconds_becomes_utc():
    odd = dt.timezone(dt.timedelta(hours=5, seconds=3))
    assert decode(encode(dt.datetime(2030, 1, 1, 5, 0, 3, tzinfo=odd), path="result")) == (
        "2030-01-01T00:00:00+00:00"
    )


@pytest.mark.parametrize("value", [None, enum.Enum("E", {"NOTHING": None}).NOTHING])
def test_null_is_encoded_as_none(value):
    assert encode(value, path="result") is None
    assert decode(None) is None


def cycle():
    value: dict[str, Any] = {"list": []}
    value["list"].append({"me": value})
    return value


def object_cycle():
    item = Slotted(1)
    item.b = [item]
    return item


async def coroutine():
    pass


@pytest.fixture
def awaitable():
    waiting = coroutine()
    yield waiting
    waiting.close()


def _without_addresses(value: object) -> str:
    """The same in every process, as the names of tests must be."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        (math.nan, "", "NaN is not valid JSON. Use None or a string instead."),
        ({"a": [None, math.inf]}, ".a[1]", "Infinity is not valid JSON."),
        ([-math.inf], "[0]", "-Infinity is not valid JSON."),
        ({"items": [1, 2, 3, Item(math.nan)]}, ".items[3].when", "NaN is not valid JSON."),
        ({"items": (0, Point(1, math.nan))}, ".items[1][1]", "NaN"),
        ([Level.NAN], "[0]", "NaN"),
        ([Real("nan")], "[0]", "NaN"),
        ({"user": {"odd key": 2**64}}, '.user["odd key"]', "the integer needs more than 64 bits"),
        ([-(2**63) - 1], "[0]", "the integer needs more than 64 bits"),
        ({"a": "x\x00y"}, ".a", "the text contains U+0000"),
        ({"a": {"k\x00": 1}}, ".a", r"its key 'k\x00' contains U+0000"),
        ({"a": ["\ud800"]}, ".a[0]", "the text contains a lone surrogate"),
        ({"a": {"\ud800": 1}}, ".a", r"its key '\ud800' contains a lone surrogate"),
        ({"a": {1: 2}}, ".a", "its key 1 is of type int, and JSON keys are text. Use str keys."),
        ({None: 2}, "", "its key None is of type NoneType"),
        (Item(dt.datetime(2030, 1, 1)), ".when", "the datetime has no time zone. Use an aware"),
        ([{1, 2}], "[0]", "a set has no order and is not valid JSON. Use a list"),
        ([frozenset()], "[0]", "a set has no order"),
        ({"a": {}.keys()}, ".a", "a set has no order"),
        ([b"x"], "[0]", "bytes are not valid JSON. Use text, such as base64"),
        ([bytearray(b"x")], "[0]", "bytes are not valid JSON"),
        ([iter([1])], "[0]", "an object of type list_iterator is not valid JSON. Use a list"),
        ([range(3)], "[0]", "an object of type range is not valid JSON. Use a list"),
        ([1j], "[0]", "an object of type complex is not valid JSON"),
        ([Item], "[0]", "an object of type type is not valid JSON"),
        ([types.SimpleNamespace()], "[0]", "an object of type types.SimpleNamespace is not"),
        (cycle(), ".list[0].me", "it contains itself. Break the cycle."),
        (object_cycle(), ".b[0]", "it contains itself. Break the cycle."),
    ],
    ids=_without_addresses,
)
def test_a_refusal_names_the_path_and_the_advice(value, place, reason):
    with pytest.raises(NotSerializable) as caught:
        encode(value, path="result")
    assert str(caught.value).startswith(f"Cannot store result{place}: {reason}")
    assert caught.value.path == f"result{place}"
    with pytest.raises(NotSerializable) as caught:
        encode(value, path="result", owner="step 'charge'")
    assert str(caught.value).startswith(f"Cannot store result{place} of step 'charge': {reason}")


def test_a_forgotten_await_is_suspected(awaitable):
    with pytest.raises(NotSerializable, match="Is an await missing"):
        encode({"a": awaitable}, path="result")


def test_a_value_is_searched_only_as_deep_as_json_may_be_nested():
    assert encode(nested(254), path="result") == b"[" * 254 + b"]" * 254
    with pytest.raises(NotSerializable, match="nested more than 254 levels deep") as caught:
        encode(nested(255), path="result")
    assert len(str(caught.value)) < 300


def test_nesting_does_not_use_up_the_stack():
    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            for depth, leaf in [(253, None), (253, "\x00"), (10_000, 1)]:
                try:
                    as_stored(decode(encode([nested(depth), leaf], path="result")))
                except NotSerializable:
                    assert (depth, leaf) != (253, None)

    descend(sys.getrecursionlimit() // 2)


@pytest.mark.parametrize("levels", [260, 5000])
def test_objects_nested_too_deeply_are_refused(levels):
    value: Any = 1
    for _ in range(levels):
        value = Slotted(1, value)
    with pytest.raises(NotSerializable, match="nested more than 254 levels deep"):
        encode(value, path="result")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


class FaultyModel(pydantic.BaseModel):
    a: int

    @pydantic.field_serializer("a")
    def _write(self, value):
        raise ZeroDivisionError("mine")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([Slotted.__new__(Slotted)], "AttributeError: .*has no attribute 'a'"),
        (FaultyModel(a=1), "ZeroDivisionError: mine"),
    ],
    ids=["dataclass", "pydantic"],
)
def test_an_object_that_fails_while_it_is_written_is_a_refusal(value, text):
    with pytest.raises(NotSerializable, match=text) as caught:
        encode(value, path="result")
    assert caught.value.__cause__ is not None


def test_a_value_too_large_for_jsonb_is_refused(monkeypatch):
    assert encoding._MAX_BYTES < 2**28  # what one jsonb value may hold
    monkeypatch.setattr(encoding, "_MAX_BYTES", 2**20)
    with pytest.raises(NotSerializable, match="takes 1 MB as JSON, and PostgreSQL stores at most"):
        encode("x" * 2**20, path="result")


def test_a_long_path_is_shortened_and_a_key_is_quoted():
    value = {'a"b': [{"k" * 400: math.nan}]}
    with pytest.raises(NotSerializable) as caught:
        encode(value, path="result")
    assert caught.value.path == 'result["a\\"b"][0]["' + "k" * 57 + '..."]'


def test_as_stored_changes_nothing_in_place():
    value = {"b": [-0.0, {"bb": 1, "a": 1e16}], "a": "x"}
    before = repr(value)
    after = as_stored(value)
    assert repr(value) == before
    assert repr(after) == repr({"a": "x", "b": [0.0, {"a": 10**16, "bb": 1}]})


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary(max_size=2)
    | st.datetimes()
    | st.sampled_from([Item(1), Item(math.nan), Struct("x"), Level.NAN, {1}]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=())), inner, max_size=5)
        | st.builds(Slotted, st.integers(), inner)
    ),
    max_leaves=20,
)


@given(json_values)
def test_every_value_is_written_faithfully_or_refused_with_its_place(value):
    written = written_or_refused(value)
    if isinstance(written, NotSerializable):
        assert str(written).startswith(f"Cannot store {written.path}: ")
        assert written.path.startswith("v")
    else:
        assert equal(decode(written), value)


def written_or_refused(value):
    try:
        return encode(value, path="v")
    except NotSerializable as refusal:
        return refusal


def equal(mine: Any, original: Any) -> bool:
    """Whether JSON has lost nothing of ``original``; NaN and U+0000 must not be in it."""
    match original:
        case Item() | Slotted():
            return equal(mine, vars_of(original))
        case Struct():
            return mine == {"kind": "kind-a", "firstName": "x"}
        case dict():
            return (
                isinstance(mine, dict)
                and mine.keys() == original.keys()
                and not any("\x00" in key for key in mine)
                and all(equal(mine[key], original[key]) for key in mine)
            )
        case list():
            return len(mine) == len(original) and all(map(equal, mine, original))
        case str():
            return mine == original and "\x00" not in mine
        case float():
            return math.isfinite(original) and mine == original
        case _:
            return type(mine) is type(original) and mine == original


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}
