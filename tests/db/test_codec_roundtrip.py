"""The codec foretells, without asking it, what a real jsonb column hands back."""

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from owsuper.core.codec import as_stored, decode, encode

# The fixture's connection serves all examples of a test: nothing is left behind on it.
with_database = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-1e20, 1e20).map(round).map(float)
)
keys = texts | st.text("abé€💥", max_size=6)
values = st.recursive(
    st.none() | st.booleans() | texts | numbers,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(keys, inner, max_size=8),
    max_leaves=40,
)


def from_jsonb(conn: psycopg.Connection, raw: bytes) -> bytes:
    row = conn.execute("SELECT $1::jsonb::text", [raw.decode()]).fetchone()
    return row[0].encode()


def shape(value):
    """The value with all that ``==`` between JSON values forgives: types, key order, signs."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return (type(value), repr(value))


@with_database
@given(value=values)
@example(value=[-0.0, 0.0, 1e15, 9999999999999998.0, 1e16, -1e16, 1e19, 1e20, 1e22, 1e23])
@example(value=[2.0**63, -(2.0**63), 2.0**64, -(2.0**63) - 2048, 2.0**64 - 2048, 2**64 - 1])
@example(value=[5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e-7, 1.5e300, 0.1])
@example(value=[123456789012345678.0, 1.2345678901234567e22, 1.0, 100.0])
@example(value={"b": 1, "aa": 2, "a": 3, "": 4, "é": 5, "zz": 6, "€": 7, "zzz": 8})
@example(value={"x": {"b": [{"dd": 1, "c": -0.0}], "a": None}, "A": "\\u0000 \u2028 \x7f \x01"})
def test_as_stored_is_what_jsonb_hands_back(conn, value):
    raw = encode({"root": value}, path="value")
    mine = as_stored(decode(raw))
    assert shape(mine) == shape(decode(from_jsonb(conn, raw)))
    assert shape(as_stored(mine)) == shape(mine)


@with_database
@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_keeps_its_value(conn, number):
    raw = encode(number, path="value")
    back = decode(from_jsonb(conn, raw))
    assert float(back) == number
    assert shape(as_stored(decode(raw))) == shape(back)


@with_database
@given(value=values)
def test_what_is_encoded_is_accepted_by_jsonb(conn, value):
    raw = encode(value, path="value")
    if raw is None:
        assert value is None
    else:
        from_jsonb(conn, raw)


@pytest.mark.parametrize("levels", [1, 100, 253])
def test_what_may_be_nested_comes_back(conn, levels):
    value = 1.0
    for level in range(levels):
        value = {"b": value, "a": 0} if level % 2 else [value]
    raw = encode(value, path="value")
    back = decode(from_jsonb(conn, raw))
    assert orjson.dumps(as_stored(decode(raw))) == orjson.dumps(back)


def test_numbers_as_javascript_writes_them_are_read(conn):
    assert decode(from_jsonb(conn, b"[1, 9007199254740992, 1e21, 1.5e-7]")) == [
        1,
        2**53,
        1e21,
        1.5e-7,
    ]
