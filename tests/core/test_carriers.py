"""Which carriers are stored and read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from owsuper.core import carriers

PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def test_headers_become_the_context_of_a_run_and_are_read_back() -> None:
    context = carriers.context_of(PARENT)
    assert context == {"traceContext": PARENT}
    assert carriers.read(context["traceContext"]) == PARENT


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"a": 1}, {"a": "b", "c": None}])
def test_what_is_no_object_of_texts_is_no_carrier(value: Any) -> None:
    assert carriers.read(value) is None


@pytest.mark.parametrize("headers", [{}, {"a": "\x00"}, {"\ud800": "b"}, {"a": 1}, {1: "a"}])
def test_nothing_that_jsonb_refuses_is_stored(headers: Any) -> None:
    assert carriers.context_of(headers) is None
    assert carriers.context_of({**PARENT, **headers}) == {"traceContext": PARENT}


@pytest.mark.parametrize("text", ["x" * 20_000, "\N{SNOWMAN}" * 6_000, '"' * 9_000])
def test_baggage_that_is_too_long_is_not_stored(text: str) -> None:
    assert carriers.context_of({**PARENT, "baggage": text}) == {"traceContext": PARENT}


def test_baggage_of_the_usual_limit_is_stored() -> None:
    headers = {**PARENT, "baggage": "x" * 8192, "tracestate": "y" * 512}
    context = carriers.context_of(headers)
    assert context == {"traceContext": headers}
    assert len(orjson.dumps(context)) < 16_384


def test_a_trace_that_is_too_long_is_not_stored() -> None:
    assert carriers.context_of({"traceparent": "x" * 20_000}) is None
