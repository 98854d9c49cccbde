"""What a run may report as its progress."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from owsuper.step.progress import checked_progress


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        ((0, None, None), (0.0, None, None)),
        ((3, 10, "x"), (3.0, 10.0, "x")),
        ((2.5, 2, ""), (2.5, 2.0, "")),
        ((Fraction(1, 2), 1, None), (0.5, 1.0, None)),
    ],
)
def test_numbers_and_text_are_progress(given: tuple[Any, ...], checked: tuple[Any, ...]) -> None:
    assert checked_progress(*given) == checked


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("3", None, None), TypeError, "done must be a number, not str"),
        ((True, None, None), TypeError, "done must be a number, not bool"),
        ((None, None, None), TypeError, "done must be a number, not NoneType"),
        ((-1, None, None), ValueError, "done must be 0 or more, not -1"),
        ((math.nan, None, None), ValueError, "done must be a finite number, not nan"),
        ((10**400, None, None), ValueError, "done must be a finite number"),
        ((1, "10", None), TypeError, "total must be a number, not str"),
        ((1, 0, None), ValueError, "total must be more than 0, not 0. Leave it out"),
        ((1, math.inf, None), ValueError, "total must be a finite number, not inf"),
        ((1, 2, b"x"), TypeError, "message must be text, not bytes"),
        ((1, 2, "x" * 501), ValueError, "message has 501 characters, and at most 500"),
        ((1, 2, "\0"), ValueError, "characters that PostgreSQL cannot store"),
    ],
)
def test_everything_else_is_refused_by_name(
    given: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as info:
        checked_progress(*given)
    assert str(info.value).startswith("set_progress: ")
    assert message in str(info.value)
