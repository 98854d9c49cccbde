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
        raise RuntimeError("no text today")


class OddText(str):
    pass


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("case", VECTORS["rehydration"], ids=lambda c: str(c["serialized"]))
def test_a_stored_error_is_read_as_the_contract_says(case):
    payload = StoredError.from_json(case["serialized"])
    assert payload.message == case["error_message"]
    assert (payload.name or "Error") == case["error_name"]
    assert (payload.stack is not None) == case["stack_preserved"]


@pytest.mark.parametrize(
    "case",
    [c for c in VECTORS["cases"] if "name" in c["serialized"]],
    ids=lambda c: c["thrown"],
)
def test_a_payload_has_the_members_of_the_contract(case):
    payload = StoredError.from_json(case["serialized"])
    assert payload.to_json() == case["serialized"]
    assert list(payload.to_json()) == [
        key for key in ("message", "name", "stack") if key in case["keys"]
    ]


@pytest.mark.parametrize("payload", ["step_limit_payload", "deadline_payload"])
def test_the_protocols_own_payloads_are_read(payload):
    assert StoredError.from_json(VECTORS[payload]).message == VECTORS[payload]["message"]


def test_an_exception_keeps_name_message_and_stack():
    payload = StoredError.from_exception(raised(MyError("mine")))
    assert (payload.name, payload.message) == ("MyError", "mine")
    assert payload.stack.startswith("Traceback (most recent call last):")
    assert payload.stack.rstrip().endswith("MyError: mine")
    assert payload.to_json().keys() == {"name", "message", "stack"}


def test_the_stack_shows_the_cause():
    try:
        raise MyError("outer") from raised(KeyError("inner"))
    except MyError as error:
        payload = StoredError.from_exception(error)
    assert payload.message == "outer"
    assert "KeyError: 'inner'" in payload.stack


def test_a_group_shows_its_members():
    group = ExceptionGroup("two", [raised(MyError("left")), raised(MyError("right"))])
    payload = StoredError.from_exception(raised(group))
    assert payload.name == "ExceptionGroup"
    assert payload.message == "two (2 sub-exceptions)"
    assert "MyError: left" in payload.stack
    assert "MyError: right" in payload.stack


def test_an_exception_without_text_is_stored_all_the_same():
    payload = StoredError.from_exception(raised(MuteError()))
    assert payload.name == "MuteError"
    assert "__str__ raised RuntimeError" in payload.message
    assert "MuteError" in payload.stack


def test_a_traceback_that_cannot_be_made_is_left_out(monkeypatch):
    def broken(error):
        raise RecursionError

    monkeypatch.setattr(traceback, "format_exception", broken)
    payload = StoredError.from_exception(MyError("mine"))
    assert payload.to_json() == {"message": "mine", "name": "MyError"}


def test_a_text_of_a_subclass_becomes_plain_text():
    assert type(StoredError.from_exception(MyError(OddText("x"))).message) is str


def test_a_huge_message_keeps_its_head_and_tail():
    payload = StoredError.from_exception(MyError("head" + "x" * 10_000_000 + "tail"))
    assert payload.message.startswith("headxxx")
    assert payload.message.endswith("xxxtail")
    assert "characters left out" in payload.message
    assert len(payload.message) + len(payload.stack) < 40_000


def test_what_jsonb_refuses_is_written_out():
    payload = StoredError.from_exception(MyError("a\x00b\ud800c"))
    assert payload.message == "a\\u0000b\\ud800c"


@given(st.text(st.characters(exclude_categories=())))
def test_every_message_can_be_stored_and_read_back(text):
    payload = StoredError.from_exception(MyError(text), final=True)
    assert encode(payload.to_json(), path="error")
    assert StoredError.from_json(payload.to_json()) == payload


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["name", "message", "stack", "final"]) | st.text(), inner)
    ),
    max_leaves=10,
)


@given(json_values)
def test_whatever_is_stored_is_read_without_an_error(value):
    payload = StoredError.from_json(value)
    assert isinstance(payload.message, str)
    assert payload.name is None or payload.name
    assert payload.stack is None or payload.stack
