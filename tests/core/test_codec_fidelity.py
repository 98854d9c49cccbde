"""What comes back from the store equals what went in, or it is refused by name."""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Generator, Iterable
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import HealthCheck, given, settings

from owsuper.core.codec import as_stored, check_type, convert, decode, encode, encode_as
from owsuper.errors import ConfigurationError, InvalidData, NotSerializable
from tests.core import generated_types
from tests.core.generated_types import Case

T = TypeVar("T")

# Each example makes classes, which takes its time on a busy machine.
making_classes = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)


def back(value: Any, type_: Any) -> Any:
    raw, stored = encode_as(value, type_, path="value")
    assert stored == as_stored(decode(raw))
    return convert(stored, type_, path="value")


@pytest.mark.parametrize("cases", ["standard", "models", "mixed"])
def test_a_value_of_a_generated_class_comes_back_equal(cases: str) -> None:
    @making_classes
    @given(getattr(generated_types, cases))
    def comes_back_equal(case: Case) -> None:
        check_type(case.type, "value", stored=True)
        again = back(case.value, case.type)
        assert again == case.value
        assert type(again) is type(case.value)

    comes_back_equal()


@making_classes
@given(generated_types.lossy_models)
def test_a_class_that_loses_a_field_is_refused_before_a_value_of_it_exists(case: Case) -> None:
    with pytest.raises(ConfigurationError, match=r"the field 'field_\d' of (Made|Computed)"):
        check_type(case.type, "value", stored=True)


class Inward(pydantic.BaseModel):
    full: str = pydantic.Field(validation_alias=pydantic.AliasChoices("name", "fullName"))


class Outward(pydantic.BaseModel):
    full: str = pydantic.Field(serialization_alias="name")


class Login(pydantic.BaseModel):
    user: str
    token: pydantic.SecretStr


SECRET = pydantic.SecretStr("x")


class Hidden(pydantic.BaseModel):
    realm: str = pydantic.Field(default="default", exclude=True)


class Lines(pydantic.BaseModel):
    lines: Iterable[str]


class Rows(TypedDict):
    rows: Iterable[int]


@pydantic.dataclasses.dataclass
class Started:
    n: int
    start: InitVar[int]


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (
            Inward,
            "the field 'full' of Inward is written as 'full' and read as 'name' or 'fullName'",
        ),
        (Outward, "the field 'full' of Outward is written as 'name' and read as 'full'"),
        (Login, "the field 'token' of Login is a secret"),
        (list[Login] | None, "the field 'token' of Login is a secret"),
        (Hidden, "the field 'realm' of Hidden has exclude=True"),
        (Started, "the field 'start' of Started is an InitVar"),
        (pydantic.RootModel[list[Login]], "the field 'token' of Login is a secret"),
        (pydantic.RootModel[pydantic.SecretBytes], "is a secret"),
        (pydantic.Secret[int], "is a secret"),
        (list[pydantic.SecretStr], "is a secret"),
        (Iterable[int], "is read as an iterator"),
        (Generator[int, None, None], "is read as an iterator"),
        (Lines, "the field 'lines' of Lines is read as an iterator"),
        pytest.param(
            Rows,
            "the field 'rows' of Rows is read as an iterator",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 12), reason="pydantic takes no typing.TypedDict"
            ),
        ),
    ],
    ids=str,
)
def test_a_type_that_loses_something_is_refused_for_a_result(type_: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_type(type_, "what it returns", stored=True)
    assert message in str(caught.value)
    check_type(type_, "its input")  # which other programs write by rules of their own


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            Login(user="ada", token=SECRET),
            "the field 'token' of Login is a secret",
        ),
        (Hidden(), "the field 'realm' of Hidden has exclude=True"),
    ],
    ids=str,
)
def test_what_pydantic_writes_otherwise_is_not_stored_even_without_a_declared_type(
    value: Any, message: str
) -> None:
    with pytest.raises(NotSerializable, match=message) as caught:
        encode({"items": [value]}, path="data", owner="signal 's'")
    assert caught.value.path == "data.items[0]"


class Revealed(pydantic.BaseModel):
    token: pydantic.SecretStr

    @pydantic.field_serializer("token", when_used="json")
    def reveal(self, token: pydantic.SecretStr) -> str:
        return token.get_secret_value()


class Renamed(pydantic.BaseModel):
    full: str = pydantic.Field(validation_alias="name")

    @pydantic.model_validator(mode="before")
    @classmethod
    def rename(cls, members: dict[str, Any]) -> dict[str, Any]:
        return {"name": members["full"]} if "full" in members else members


@pytest.mark.parametrize("value", [Revealed(token=SECRET), Renamed(name="Ada")], ids=str)
def test_a_class_with_rules_of_its_own_is_judged_by_its_values(value: Any) -> None:
    check_type(type(value), "value", stored=True)
    assert back(value, type(value)) == value


class Rounded(pydantic.BaseModel):
    price: float
    note: str = ""

    @pydantic.field_serializer("price")
    def in_whole(self, price: float) -> int:
        return round(price)


class Base(pydantic.BaseModel):
    n: int


class Derived(Base):
    more: str


class Holder(pydantic.BaseModel):
    either: dt.datetime | str
    anything: Any = None


@dataclass
class Left:
    n: int


@dataclass
class Right:
    n: int


class Doubling(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        self.n *= 2


noon = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("type_", "value", "path"),
    [
        (Rounded, Rounded(price=1.5), "value.price"),
        (list[Rounded], [Rounded(price=1), Rounded(price=1.5)], "value[1].price"),
        (Holder, Holder(either="x", anything=math.nan), "value.anything"),
        (Base, Derived(n=1, more="x"), "value"),
        (dict[str, Base], {"a": Derived(n=1, more="x")}, "value.a"),
        (Left | Right, Right(1), "value"),
        (Holder, Holder(either=noon.isoformat()), "value.either"),
        (Doubling, Doubling(1), "value.n"),
    ],
    ids=str,
)
def test_a_value_that_would_come_back_changed_is_refused_by_its_path(
    type_: Any, value: Any, path: str
) -> None:
    check_type(type_, "value", stored=True)
    with pytest.raises(NotSerializable, match="would come back ") as caught:
        encode_as(value, type_, path="value", owner="step 's'")
    assert caught.value.path == path
    assert str(caught.value).startswith(f"Cannot store {path} of step 's': ")


def test_an_object_of_a_subclass_is_refused_by_the_names_of_both_classes() -> None:
    with pytest.raises(NotSerializable) as caught:
        encode_as([Derived(n=1, more="x")], list[Base], path="value")
    assert str(caught.value) == (
        "Cannot store value[0]: it is a Derived, and would come back as a Base."
        " Declare the type Derived, or store a Base."
    )


def test_a_value_that_is_not_equal_to_itself_is_refused_for_that() -> None:
    with pytest.raises(NotSerializable, match=r"store prices\[1\]: it is not equal to itself"):
        encode_as([Decimal(1), Decimal("NaN")], list[Decimal], path="prices")


def test_a_field_that_may_be_missing_and_was_written_under_another_name_is_refused() -> None:
    class Optional(pydantic.BaseModel):
        full: str = pydantic.Field(default="", validation_alias="name")

    with pytest.raises(NotSerializable, match=r"^Cannot store input\.full of w: "):
        encode_as(Optional(name="Ada"), Optional, path="input", owner="w")
    reason = r"the field 'full' of Inward is written as 'full' and read as 'name' or 'fullName'\."
    with pytest.raises(NotSerializable, match=rf"^Cannot store input of w: {reason}"):
        encode_as(Inward(name="Ada"), Inward, path="input", owner="w")


def test_json_that_does_not_fit_such_a_class_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidData, match=r"^input\.name of w: Field required"):
        encode_as({"full": "Ada"}, Inward, path="input", owner="w")
    assert back({"name": "Ada"}, Inward) == Inward(name="Ada")


BERLIN = ZoneInfo("Europe/Berlin")


@dataclass
class Loose:
    when: Any
    many: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (tuple[int, int], [1, 2], (1, 2)),
        (list[int], (1, 2), [1, 2]),
        (Left, {"n": 1, "unknown": 2}, Left(1)),
        (float, 1, 1.0),
        (Loose, Loose(noon, [1]), Loose(noon.isoformat(), (1,))),
        (Holder, Holder(either="x", anything=noon), Holder(either="x", anything=noon.isoformat())),
        (dict[str, str], {"id": generated_types.Color.RED}, {"id": "red"}),
    ],
    ids=str,
)
def test_a_conversion_to_the_declared_type_is_no_change(
    type_: Any, value: Any, expected: Any
) -> None:
    if isinstance(value, Holder):
        expected.anything = "2030-01-01T12:00:00Z"
    assert back(value, type_) == expected


@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_in_a_repeated_hour_comes_back_as_the_same_instant(fold: int) -> None:
    when = dt.datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=BERLIN)
    again = back(Loose(when), Annotated[Loose, "typed"])
    assert dt.datetime.fromisoformat(again.when).timestamp() == when.timestamp()
    assert back([when], list[dt.datetime])[0].timestamp() == when.timestamp()


def test_a_class_without_equality_is_compared_by_its_fields() -> None:
    @dataclass(eq=False)
    class Silent:
        n: int

    @dataclass
    class Loud:
        n: int

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

    assert back(Silent(1), Silent).n == 1
    assert back(Loud(1), Loud).n == 1


@dataclass
class Order:
    price: int
    count: int
    total: int = field(init=False)
    status: str = field(init=False, default="new")

    def __post_init__(self) -> None:
        self.total = self.price * self.count


def test_a_field_that_the_constructor_computes_comes_back_as_it_was_stored() -> None:
    order = Order(2, 3)
    order.total, order.status = 5, "discounted"
    check_type(Order, "value", stored=True)
    for type_, value in [(Order, order), (list[Order], [order]), (Order | Left, order)]:
        assert back(value, type_) == value


@dataclass
class Later(Generic[T]):
    content: T
    also: T = field(init=False)
    many: list[T] = field(init=False, default_factory=list)


def test_a_field_of_a_generic_class_that_the_constructor_does_not_take_comes_back() -> None:
    later = Later(Left(1))
    later.also, later.many = Left(2), [Left(3)]
    assert back(later, Later[Left]) == later


def test_private_attributes_of_a_pydantic_model_are_made_anew() -> None:
    class Cached(pydantic.BaseModel):
        n: int
        _seen: list[int] = pydantic.PrivateAttr(default_factory=list)

    cached = Cached(n=1)
    cached._seen.append(7)
    assert back(cached, Cached)._seen == []
