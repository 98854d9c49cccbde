import contextlib
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core import durations
from owsuper.errors import ConfigurationError, InvalidDuration

VECTORS = Path(__file__).parent.parent / "vectors"
TEXTS = [c for c in json.loads((VECTORS / "durations.json").read_text())["cases"] if "input" in c]
RESUMES = json.loads((VECTORS / "resume_at.json").read_text())["cases"]
HISTORY = json.loads((VECTORS / "history_state.json").read_text())
NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
DEFECTIVE_UNIT = "5 constructor"  # a defect of the reference: it reads as not-a-number
TIMEOUTS = [
    case
    for case in json.loads((VECTORS / "wait_timeouts.json").read_text())["cases"]
    if case["timeout"].startswith("text ")
]

aware = st.datetimes(
    datetime(1900, 1, 1),
    datetime(2200, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))]),
)


@pytest.mark.parametrize("case", TEXTS, ids=lambda c: repr(c["input"])[:30])
def test_text_reads_as_the_contract_says(case):
    text = case["input"]
    if not case["ok"] or text == DEFECTIVE_UNIT:
        with pytest.raises(InvalidDuration) as caught:
            durations.parse(text)
        assert str(caught.value) == f'Invalid duration format: "{text}"'
        return
    result = durations.parse(text)
    assert result == float(case["ms"])
    assert math.copysign(1, result) == math.copysign(1, float(case["ms"]))


@pytest.mark.parametrize("case", TIMEOUTS, ids=lambda c: f"{c['kind']} {c['timeout']}")
def test_a_timeout_text_reads_as_the_contract_says(case):
    text = case["timeout"].removeprefix("text ").strip("'")
    if case["step_row"] is None:
        with pytest.raises(InvalidDuration) as caught:
            durations.parse(text)
        assert str(caught.value) == case["run"]["error_message"]
        return
    assert durations.parse(text) == case["step_row"]["timeout_at"]["after_created_ms"]


@pytest.mark.parametrize("space", [*"\t\n\v\f\r \u00a0\u1680\u2007\u2028\u202f\u205f\u3000\ufeff"])
def test_every_ecmascript_space_may_stand_before_the_unit(space):
    assert durations.parse(f"2{space}{space}s") == 2000


@pytest.mark.parametrize("char", [*"\x1c\x1f\x85\u180e\u200b"])
def test_white_space_of_python_alone_is_refused(char):
    with pytest.raises(InvalidDuration):
        durations.parse(f"2{char}s")


def test_trailing_space_is_refused_without_a_unit_too():
    with pytest.raises(InvalidDuration):
        durations.parse("2 ")


@pytest.mark.parametrize("value", [None, 5, b"5s", ["5s"]])
def test_parse_refuses_values_that_are_not_text_and_names_their_type(value):
    with pytest.raises(
        InvalidDuration, match=f"expected a string but received {type(value).__name__}$"
    ):
        durations.parse(value)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (timedelta(minutes=1, microseconds=1), 60_000.001),
        (timedelta(seconds=-1), -1000),
        (2, 2000),
        (0.25, 250),
        (-3, -3000),
        ("500ms", 500),
        ("1.5h", 5_400_000),
    ],
)
def test_numbers_are_seconds_and_text_has_a_unit(value, ms):
    assert durations.milliseconds(value) == ms
    assert durations.seconds(value) == ms / 1000


@pytest.mark.parametrize("text", ["30", "1.5", "-3", ".5", "0"])
@pytest.mark.parametrize("read", [durations.milliseconds, durations.seconds])
def test_text_without_a_unit_is_refused_with_both_meanings(read, text):
    with pytest.raises(InvalidDuration) as caught:
        read(text)
    assert str(caught.value) == (
        f'Invalid duration format: "{text}" has no unit. "{text}" could mean {text} ms (as in'
        f' OpenWorkflow for TypeScript) or {text} s. Write "{text}s" or "{text}ms", or pass the'
        f" number {text} for seconds."
    )


@pytest.mark.parametrize("text", [".5.5", "1" * 21])
def test_odd_text_without_a_unit_is_refused_briefly(text):
    assert math.isfinite(durations.parse(text))
    with pytest.raises(InvalidDuration, match=r"has no unit\. Write \"500ms\""):
        durations.milliseconds(text)


@pytest.mark.parametrize(
    "value", [True, None, b"5s", math.nan, math.inf, -math.inf, 10**400, "9" * 400, "9" * 400 + "s"]
)
def test_a_value_that_is_no_finite_duration_is_refused(value):
    with pytest.raises(InvalidDuration, match=r"^Invalid duration format: "):
        durations.milliseconds(value)
    with pytest.raises(InvalidDuration):
        durations.seconds(value)


def test_a_huge_value_does_not_flood_the_message():
    with pytest.raises(InvalidDuration) as caught:
        durations.milliseconds("9" * 4000)
    assert len(str(caught.value)) < 200


@given(st.text())
def test_any_text_is_a_number_or_invalid(text):
    with contextlib.suppress(InvalidDuration):
        assert isinstance(durations.parse(text), float)


@pytest.mark.parametrize("case", RESUMES, ids=lambda c: c["duration"][:20])
def test_a_duration_is_added_as_the_contract_says(case):
    if case["error"]:
        with pytest.raises(InvalidDuration):
            durations.add_ms(NEW_YEAR, durations.parse(case["duration"]))
        return
    result = durations.add_ms(NEW_YEAR, durations.parse(case["duration"]))
    assert durations.iso_ms(result) == case["resume_at"]


def test_adding_truncates_towards_the_epoch():
    before = datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert durations.add_ms(before, -0.5) == before
    assert durations.add_ms(NEW_YEAR, -0.5) == NEW_YEAR - timedelta(milliseconds=1)


@pytest.mark.parametrize("ms", [1e15, -1e15, 1e300, math.inf, math.nan])
def test_a_time_out_of_range_is_an_invalid_duration(ms):
    with pytest.raises(InvalidDuration, match="outside the years 1 to 9999"):
        durations.add_ms(NEW_YEAR, ms)


@given(aware)
def test_the_next_whole_millisecond_is_never_before_a_moment(moment):
    whole = durations.ceil_ms(moment)
    assert whole == durations.truncate_ms(whole)
    assert timedelta() <= whole - moment < timedelta(milliseconds=1)


def test_the_end_of_time_is_a_whole_millisecond_too():
    last = datetime.max.replace(tzinfo=UTC)
    assert durations.ceil_ms(last) == last.replace(microsecond=999000)


def test_a_time_that_utc_cannot_hold_is_named():
    beyond = datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))
    with pytest.raises(ConfigurationError, match=r"^when: 9999-.* outside the years 1 to 9999"):
        durations.in_utc(beyond, "when")


@given(aware, st.integers(-(10**11), 10**11))
def test_adding_whole_milliseconds_is_exact(moment, ms):
    expected = durations.truncate_ms(moment) + timedelta(milliseconds=ms)
    assert durations.add_ms(moment, ms) == expected


@given(aware)
def test_iso_text_reads_back_as_the_same_millisecond(moment):
    text = durations.iso_ms(moment)
    assert len(text) == 24
    assert text.endswith("Z")
    assert durations.parse_iso(text) == durations.truncate_ms(moment)


def test_iso_text_pads_early_years():
    assert durations.iso_ms(datetime(1, 2, 3, tzinfo=UTC)) == "0001-02-03T00:00:00.000Z"


def test_iso_text_of_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="aware"):
        durations.iso_ms(datetime(2030, 1, 1))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-01-01T00:00:00.000Z", NEW_YEAR),
        ("2030-01-01T00:00Z", NEW_YEAR),
        ("2030-01-01T02:30:00+02:30", NEW_YEAR),
        ("2030-01-01T00:00:00", NEW_YEAR),
        ("2030-01-01", NEW_YEAR),
        ("+012030-01-01T00:00:00.000Z", datetime.max.replace(tzinfo=UTC)),
        ("-000001-01-01T00:00:00.000Z", datetime.min.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("2030-13-01T00:00:00Z", None),
        ("garbage", None),
        ("", None),
        (None, None),
        (5, None),
        ({}, None),
    ],
)
def test_times_of_other_implementations_are_read_or_tolerated(text, moment):
    assert durations.parse_iso(text) == moment


@given(st.text())
def test_reading_a_time_never_raises(text):
    result = durations.parse_iso(text)
    assert result is None or result.tzinfo is UTC


@pytest.mark.parametrize("case", HISTORY["default_timeouts"], ids=lambda c: c["base"])
def test_a_year_later_is_the_same_date(case):
    base = durations.parse_iso(case["base"])
    assert durations.iso_ms(durations.add_years(base, 1)) == case["timeout_at"]
