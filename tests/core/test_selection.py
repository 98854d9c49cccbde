"""Which workflows a worker serves, by patterns."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.selection import nothing_left, select

REGISTERED = [("mail", None), ("report-day", None), ("report-day", "2"), ("report-year", None)]

names = st.text(st.sampled_from("ab-"), min_size=1, max_size=3)
patterns = st.lists(st.text(st.sampled_from("ab-*?"), min_size=1, max_size=3), max_size=3)
workflows = st.lists(st.tuples(names, st.none() | names), max_size=6, unique=True)


@pytest.mark.parametrize(
    ("only", "except_", "served"),
    [
        ((), (), REGISTERED),
        (("mail",), (), REGISTERED[:1]),
        (("report-*",), (), REGISTERED[1:]),
        (("report-day",), (), REGISTERED[1:3]),
        ((), ("report-????",), REGISTERED[:3]),
        (("report-*",), ("*-year",), REGISTERED[1:3]),
        (("[mx]ail", "*-year"), (), [REGISTERED[0], REGISTERED[3]]),
    ],
)
def test_patterns_choose_workflows_in_all_their_versions(
    only: tuple[str, ...], except_: tuple[str, ...], served: list[tuple[str, str | None]]
) -> None:
    selection = select(REGISTERED, only=only, except_=except_)
    assert list(selection.served) == served
    assert selection.mismatches == ()


def test_a_pattern_without_effect_is_named_with_the_names_that_there_are() -> None:
    selection = select(REGISTERED, only=("mail", "Report-*"), except_=("nobody",))
    assert selection.served == (("mail", None),)
    there_are = "There are mail, report-day, report-year"
    assert selection.mismatches == (
        f"--only Report-*: no registered workflow has this name. {there_are}",
        f"--except nobody: no registered workflow has this name. {there_are}",
    )


def test_nothing_left_names_the_options_and_the_workflows() -> None:
    assert nothing_left(("mail",), ("m*", "x"), REGISTERED) == (
        "--only mail --except m* --except x leaves no workflow to serve. Registered are mail,"
        " report-day, report-year"
    )


@given(workflows, patterns, patterns)
def test_each_workflow_is_served_as_its_name_says(
    registered: list[tuple[str, str | None]], only: list[str], except_: list[str]
) -> None:
    selection = select(registered, only=only, except_=except_)
    expected = [
        (name, version)
        for name, version in registered
        if (not only or any(fnmatchcase(name, each) for each in only))
        and not any(fnmatchcase(name, each) for each in except_)
    ]
    assert list(selection.served) == expected
    unmatched = [
        pattern
        for pattern in (*only, *except_)
        if not any(fnmatchcase(name, pattern) for name, _ in registered)
    ]
    assert len(selection.mismatches) == len(unmatched)
