"""Values as pages show them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.dashboard.values import indented, shown
from owsuper.db.dashboard.run_page import StoredValue

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_indenting_changes_nothing_but_blanks(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json.loads(indented(text)) == value


@given(JSON, st.integers(0, 40))
def test_the_beginning_of_a_value_can_be_indented(value: Any, length: int) -> None:
    beginning = json.dumps(value, ensure_ascii=False)[:length]
    kept = indented(beginning)
    assert "".join(kept.split()).startswith("".join(beginning.split())[:5])


def test_a_value_stands_on_lines_of_its_own() -> None:
    assert indented('{"a": [1, {}], "b": "x, {y}"}') == (
        '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": "x, {y}"\n}'
    )


def test_numbers_keep_their_digits() -> None:
    assert indented("[1.10, 1e400, 123456789012345678901234567890]").split() == [
        "[",
        "1.10,",
        "1e400,",
        "123456789012345678901234567890",
        "]",
    ]


def test_a_value_of_fifty_thousand_levels_stays_small() -> None:
    deep = "[" * 50_000 + "]" * 50_000
    assert len(indented(deep)) < 110_000


@pytest.mark.parametrize(
    ("stored", "folded", "size", "unknown"),
    [
        (StoredValue("input", 9, 7, '{"a":1}'), False, 7, False),
        (StoredValue("input", 900, 5000, None), True, 5000, False),
        (StoredValue("input", 900, None, None), True, 900, True),
    ],
)
def test_a_value_is_shown_folded_or_measured(
    stored: StoredValue, folded: bool, size: int, unknown: bool
) -> None:
    value = shown(stored, hide=False)
    assert (value.text is None, value.size, value.unknown) == (folded, size, unknown)


def test_of_a_hidden_value_nothing_is_given_but_its_name() -> None:
    value = shown(StoredValue("input", 9, 7, '{"a":1}'), hide=True)
    assert (value.name, value.text, value.size, value.hidden) == ("input", None, 0, True)
