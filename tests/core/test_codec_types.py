"""From stored JSON to declared types, and back to the same value."""

import datetime as dt
import decimal
import enum
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    NotRequired,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.codec import as_stored, check_type, convert, decode, encode, encode_as
from owsuper.errors import ConfigurationError, InvalidData

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    id: int
    at: dt.datetime | None = None
    nick: str = pydantic.Field(default="", alias="nickName")
    tags: set[int] = set()
    secret: bytes = b""


@pydantic.dataclasses.dataclass
class Positive:
    n: Annotated[int, pydantic.Field(gt=0)]


@attrs.define
class Attrs:
    inner: "Inner"
    _private: int
    computed: int = attrs.field(init=False, default=3)


class Struct(msgspec.Struct, rename="camel", tag=True):
    first_name: str
    age: int | msgspec.UnsetType = msgspec.UNSET


class Other(msgspec.Struct, tag=True):
    n: int


class Row(msgspec.Struct, array_like=True):
    a: int
    b: str = "b"


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Inner:
    n: int
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    inner: Inner
    many: list[Inner] = field(default_factory=list)
    by_name: dict[str, Inner] = field(default_factory=dict)
    _private: str = "p"


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Left:
    left: int


@dataclass
class Right:
    right: int


@dataclass
class Picky:
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError("n must not be negative")
        if self.n == 0:
            raise ZeroDivisionError("n is zero")


@dataclass
class Everything:
    i: int
    f: float
    s: str
    b: bool
    opt: int | None
    when: dt.datetime
    day: dt.date
    time: dt.time
    span: dt.timedelta
    uid: uuid.UUID
    money: decimal.Decimal
    color: Color
    lit: Literal["a", "b", 3]
    pair: tuple[int, str]
    nums: dict[str, list[float]]
    either: int | str
    anything: Any


class Plain:
    pass


def stored(value):
    return as_stored(decode(encode(value, path="result")))


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (int, 5),
        (bool, True),
        (str, "x"),
        (float, 1e16),
        (float, 2.0),
        (int | None, None),
        (list[int], [1, 2]),
        (tuple[int, ...], (1, 2)),
        (dict[str, list[Inner]], {"a": [Inner(1)]}),
        (Mapping[str, int], {"a": 1}),
        (Sequence[Inner], [Inner(1)]),
        (Color, Color.BLUE),
        (Literal["a", 1], "a"),
        (Outer, Outer(Inner(1, Model(id=2)), [Inner(3)], {"k": Inner(4)}, _private="q")),
        (Tree, Tree(1, [Tree(2), Tree(3, [Tree(4)])])),
        (Box[Inner], Box(Inner(1))),
        (Movie, {"title": "M", "year": 1931}),
        (Movie, {"title": "M"}),
        (Point, Point(1, 2.5)),
        (list[Attrs], [Attrs(Inner(1), private=2)]),
        (Struct, Struct("Ada", 36)),
        (Struct | Other, Other(3)),
        (list[Row], [Row(1), Row(2, "c")]),
        (Model, Model(id=1, at=dt.datetime(2030, 1, 1, tzinfo=dt.UTC), nickName="n", tags={1})),
        (Model | None, None),
        (list[Model], [Model(id=1, secret=b"x")]),
        (Positive, Positive(3)),
        (dict[str, Positive], {"a": Positive(3)}),
        (Left | Right, Right(2)),
        (Model | int, 3),
        (NewId := Annotated[int, msgspec.Meta(ge=1)], 1),
        (list[object], [1, "a"]),
        (uuid.UUID, uuid.UUID(int=7)),
        (decimal.Decimal, decimal.Decimal("0.10")),
        (dt.timedelta, dt.timedelta(days=-1, microseconds=1)),
        (dt.date, dt.date(2030, 1, 1)),
        (dt.time, dt.time(1, 2, 3)),
    ],
    ids=lambda part: str(part)[:50],
)
def test_a_value_comes_back_as_its_declared_type(type_, value):
    check_type(type_, "result")
    back = convert(stored(value), type_, path="result")
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("type_", [None, Any, object, type(None), NoReturn])
def test_without_a_declared_type_the_json_is_returned(type_):
    value = {"a": [1]}
    check_type(type_, "result")
    assert convert(value, type_, path="result") is value


aware = st.datetimes(
    timezones=st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
)
everything = st.builds(
    Everything,
    i=st.integers(-(2**63), 2**63 - 1),
    f=st.floats(allow_nan=False, allow_infinity=False),
    s=st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    when=aware,
    money=st.decimals(allow_nan=False, allow_infinity=False),
    opt=st.none() | st.integers(-(2**63), 2**64 - 1),
    pair=st.tuples(st.integers(-5, 5), st.text("ab")),
    span=st.timedeltas(dt.timedelta(days=-10_000), dt.timedelta(days=10_000)),
    nums=st.dictionaries(st.sampled_from("abc"), st.lists(st.floats(-1e18, 1e18))),
    either=st.integers(-5, 5) | st.sampled_from(["", "1"]),
    anything=st.none() | st.integers(-5, 5) | st.lists(st.text("ab")),
)


@given(everything)
def test_every_field_survives_the_store(value):
    assert convert(stored(value), Everything, path="result") == value


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        (int, "5", "input: expected int, got str"),
        (int, 1.5, "input: expected int, got float"),
        (str, None, "input: expected str, got null"),
        (bool, 1, "input: expected bool, got int"),
        (Movie, {"title": 5}, "input.title: expected str, got int"),
        (Movie, {}, "input.title: required field is missing"),
        (Outer, {"inner": {"n": "x"}}, "input.inner.n: expected int, got str"),
        (Outer, {"inner": {}}, "input.inner.n: required field is missing"),
        (Outer, {"inner": {"n": 1}, "many": [{"n": 1}, 5]}, "input.many[1]: expected object"),
        (Outer, [], "input: expected object, got array"),
        (dict[int, int], {"a": 1}, "input: key: expected int, got str"),
        (Color, "green", "input: invalid enum value 'green'"),
        (Literal["a"], "b", "input: invalid enum value 'b'"),
        (tuple[int, int], [1], "input: expected array of length 2, got 1"),
        (uuid.UUID, "x", "input: invalid UUID"),
        (dt.datetime, "tomorrow", "input: invalid RFC3339 encoded datetime"),
        (list[Model], [{"id": 1}, {"id": "1"}], "input[1].id: Input should be a valid integer"),
        (Inner, {"n": 1, "model": {}}, "input.model.id: Field required"),
        (Model, {"id": "x", "tags": ["y"]}, r"input.id: .* \(and 1 more\)$"),
        (Positive, {"n": 0}, "input.n: Input should be greater than 0"),
        (Picky, {"n": -1}, "input: n must not be negative"),
        (list[Picky], [{"n": 1}, {"n": 0}], "input: ZeroDivisionError: n is zero"),
        (Plain, {}, "input: unsupported type Plain"),
    ],
    ids=lambda part: str(part)[:50],
)
def test_a_value_that_does_not_fit_is_refused_by_its_path(type_, value, message):
    with pytest.raises(InvalidData, match=f"^{message}".replace("[", r"\[")) as caught:
        convert(value, type_, path="input")
    assert str(caught.value).startswith(caught.value.path)


def test_a_refusal_names_the_owner_of_the_value():
    with pytest.raises(InvalidData) as caught:
        convert({"title": 5}, Movie, path="input", owner="workflow 'mail'")
    assert str(caught.value) == "input.title of workflow 'mail': expected str, got int"
    assert caught.value.path == "input.title"


def test_members_that_the_type_does_not_know_are_dropped():
    assert convert({"n": 1, "new": 2}, Inner, path="input") == Inner(1)


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (Plain, "Plain"),
        (list[Plain], "Plain"),
        (Callable[[int], int], "Callable"),
        (Iterator[int], "Iterator"),
        ("Inner", "'Inner'"),
        (list["Nowhere"], "Nowhere"),  # noqa: F821 (that is the point)
        (Box[Plain], "Plain"),
    ],
    ids=str,
)
def test_an_annotation_that_json_cannot_fill_is_refused_early(type_, name):
    with pytest.raises(ConfigurationError, match=f"^input of workflow 'mail': .*{name}"):
        check_type(type_, "input of workflow 'mail'")


def test_annotations_without_a_hash_work_too():
    unhashable = Annotated[int, []]
    check_type(unhashable, "input")
    assert convert(5, unhashable, path="input") == 5
    assert encode_as(5, unhashable, path="input") == (b"5", 5)


def test_pydantic_is_neither_imported_nor_needed():
    program = """
        import sys
        from dataclasses import dataclass
        from owsuper.core.codec import check_type, convert, decode, encode, encode_as
        from owsuper.errors import ConfigurationError, InvalidData

        @dataclass
        class A:
            a: int

        @dataclass
        class B:
            b: int

        assert convert(decode(encode(A(1), path="r")), A, path="r") == A(1)
        for attempt, error in [
            (lambda: check_type(A | B, "r"), ConfigurationError),
            (lambda: convert({"a": 1}, A | B, path="r"), InvalidData),
        ]:
            try:
                attempt()
            except error as refusal:
                assert "not contain more than one dataclass" in str(refusal)
            else:
                raise AssertionError
        assert "pydantic" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        (bytes, "bytes"),
        (list[set[int]], "a set"),
        (dict[int, str], "a dict whose keys are not text"),
        (dict[uuid.UUID, str], "a dict whose keys are not text"),
        (tuple[frozenset[str], int], "a frozenset"),
    ],
)
def test_a_type_without_a_json_form_is_refused_for_a_result(type_: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"what it returns: .*: {kind} cannot be stored"):
        check_type(type_, "what it returns", stored=True)
    check_type(type_, "its input")  # which may come from elsewhere


@pytest.mark.parametrize("type_", [str | bytes, dict[str, int], list[Any]])
def test_a_type_with_a_possible_json_form_is_accepted_for_a_result(type_: Any) -> None:
    check_type(type_, "what it returns", stored=True)
