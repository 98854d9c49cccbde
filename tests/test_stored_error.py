"""What is stored of an exception, and how stored errors of any implementation are read."""

import json
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.codec import encode
from owsuper.stored_error import StoredError

VECTORS = json.loads((Path(__file__).parent / "vectors" / "error_serialization.json").read_text())


class MyError(Exception):
    pass


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class OddText(str):
    pass


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("case", VECTORS["rehydration"], ids=lambda c: str(c["serialized"]))
def test_a_stored_error_is_read_as_the_contract_says(case):
    stored = StoredError.from_json(case["serialized"])
    assert stored.message == case["error_message"]
    assert (stored.name or "Error") == case["error_name"]
    assert (stored.stack is not None) == case["stack_preserved"]


@pytest.mark.parametrize(
    "case",
    [c for c in VECTORS["cases"] if "name" in c["serialized"]],
    ids=lambda c: c["thrown"],
)
def test_a_stored_error_has_the_members_of_the_contract(case):
    stored = StoredError.from_json(case["serialized"])
    assert stored.to_json() == case["serialized"]
    assert list(stored.to_json()) == [
        key for key in ("message", "name", "stack") if key in case["keys"]
    ]


@pytest.mark.parametrize("payload", ["step_limit_payload", "deadline_payload"])
def test_the_stored_errors_of_the_protocol_itself_are_read(payload):
    assert StoredError.from_json(VECTORS[payload]).message == VECTORS[payload]["message"]


def test_an_exception_keeps_name_message_and_stack():
    stored = StoredError.from_exception(raised(MyError("mine")))
    assert (stored.name, stored.message) == ("MyError", "mine")
    assert stored.stack.startswith("Traceback (most recent call last):")
    assert stored.stack.rstrip().endswith("MyError: mine")
    assert stored.to_json().keys() == {"name", "message", "stack"}


def test_the_stack_shows_the_cause():
    try:
        raise MyError("outer") from raised(KeyError("inner"))
    except MyError as error:
        stored = StoredError.from_exception(error)
    assert stored.message == "outer"
    assert "KeyError: 'inner'" in stored.stack


def test_a_group_shows_its_members():
    group = ExceptionGroup("two", [raised(MyError("left")), raised(MyError("right"))])
    stored = StoredError.from_exception(raised(group))
    assert stored.name == "ExceptionGroup"
    assert stored.message == "two (2 sub-exceptions)"
    assert "MyError: left" in stored.stack
    assert "MyError: right" in stored.stack


def test_an_exception_whose_text_raises_is_stored():
    stored = StoredError.from_exception(raised(MuteError()))
    assert stored.name == "MuteError"
    assert "__str__ raised RuntimeError" in stored.message
    assert "MuteError" in stored.stack


def test_a_traceback_that_cannot_be_made_is_left_out(monkeypatch):
    def broken(error):
        raise RecursionError

    monkeypatch.setattr(traceback, "format_exception", broken)
    stored = StoredError.from_exception(MyError("mine"))
    assert stored.to_json() == {"message": "mine", "name": "MyError"}


def test_a_text_of_a_subclass_becomes_plain_text():
    assert type(StoredError.from_exception(MyError(OddText("x"))).message) is str


def test_a_huge_message_keeps_its_head_and_tail():
    stored = StoredError.from_exception(MyError("head" + "x" * 10_000_000 + "tail"))
    assert stored.message.startswith("headxxx")
    assert stored.message.endswith("xxxtail")
    assert "characters left out" in stored.message
    assert len(stored.message) + len(stored.stack) < 40_000


def test_characters_that_jsonb_refuses_are_escaped():
    stored = StoredError.from_exception(MyError("a\x00b\ud800c"))
    assert stored.message == "a\\u0000b\\ud800c"


@given(st.text(st.characters(exclude_categories=())))
def test_every_message_can_be_stored_and_read_back(text):
    stored = StoredError.from_exception(MyError(text), final=True)
    assert encode(stored.to_json(), path="error")
    assert StoredError.from_json(stored.to_json()) == stored


@given(st.text(st.characters(exclude_categories=())))
def test_an_error_of_any_origin_can_be_stored(text):
    stored = StoredError(text, name=text, stack=text)
    assert encode(stored.to_json(), path="error")


def test_an_exception_whose_class_has_an_odd_name_is_stored():
    class Nameless(type):
        @property
        def __name__(cls):
            raise RuntimeError("no name")

    class Surrogate(type):
        @property
        def __name__(cls):
            return "Odd\ud800\0"

    for meta, name in [(Nameless, "Exception"), (Surrogate, "Odd\\ud800\\u0000")]:
        stored = StoredError.from_exception(meta("Odd", (Exception,), {})("text"))
        assert (stored.name, stored.message) == (name, "text")
        assert encode(stored.to_json(), path="error")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["name", "message", "stack", "final"]) | st.text(), inner)
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_json_value_is_read_without_an_error(value):
    stored = StoredError.from_json(value)
    assert isinstance(stored.message, str)
    assert stored.name is None or stored.name
    assert stored.stack is None or stored.stack
