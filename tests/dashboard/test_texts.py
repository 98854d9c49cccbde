"""Whatever a value holds, it stands on a page as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from owsuper.dashboard import texts
from tests.db.rows import Tables

TEXTS = {
    "<script>alert(1)</script>": "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>",
    "\"'&": "<bdi>&#34;&#39;&amp;</bdi>",
    "a\x00\x1b[31mb": '<bdi>a<span class="ctl">U+0000</span><span class="ctl">U+001B</span>[31mb'
    "</bdi>",
    "abc\u202etxt.exe": '<bdi>abc<span class="ctl">U+202E</span>txt.exe</bdi>',
    "\u2066\u200f": '<bdi><span class="ctl">U+2066</span><span class="ctl">U+200F</span></bdi>',
    "\ufeff\u200b": '<bdi><span class="ctl">U+FEFF</span><span class="ctl">U+200B</span></bdi>',
    "two\nlines": "<bdi>two lines</bdi>",
    "שלום": "<bdi>שלום</bdi>",
    "👩\u200d🚀": "<bdi>👩\u200d🚀</bdi>",
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.items())
def test_a_text_is_escaped_apart_and_visible(text: str, shown: str) -> None:
    assert texts.inline(text) == shown


def test_a_block_keeps_lines_and_tabs_and_nothing_else() -> None:
    assert texts.block("a\n\tb\r\x07") == (
        '<bdi>a\n\tb<span class="ctl">U+000D</span><span class="ctl">U+0007</span></bdi>'
    )


def test_a_long_text_is_cut_before_it_is_escaped() -> None:
    assert texts.inline("<" * 10_000_000, 3) == "<bdi>&lt;&lt;\N{HORIZONTAL ELLIPSIS}</bdi>"


def test_an_attribute_gets_no_control_characters() -> None:
    assert texts.plain('"\u202e\n') == '"<U+202E><U+000A>'


def test_times_numbers_and_sizes_are_short() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert texts.relative(at - timedelta(seconds=90), at) == "1m 30s ago"
    assert texts.relative(at + timedelta(days=3, hours=2), at) == "in 3d 2h"
    assert '<time datetime="2026-03-01T12:00:00+00:00" title="2026-03-01 12:00:00Z">' in (
        texts.when(at, at)
    )
    assert texts.when(None) == '<span class="none">\N{EN DASH}</span>'
    assert [texts.span(each) for each in (0.0123, 4.5, 59.2, 3600, None)] == [
        "12ms", "4.50s", "59s", "1h 0m", "\N{EN DASH}",
    ]  # fmt: skip
    assert texts.count(1234567) == "1\u202f234\u202f567"
    assert [texts.size(each) for each in (0, 1023, 1536, 10 << 20, 3 << 40)] == [
        "0 B", "1.0 KB", "1.5 KB", "10 MB", "3.0 TB",
    ]  # fmt: skip


NASTY = "<script>alert(1)</script>\u202e\x07"


@pytest.mark.parametrize("path", ["/", "/runs", "/workflows", "/waiting"])
def test_a_workflow_with_a_nasty_name_is_shown_as_text(
    browser: TestClient, tables: Tables, path: str
) -> None:
    name = NASTY.replace("\x07", "")
    run_id = tables.parked(workflow_name=name, available_at=None)
    tables.signal_wait(run_id, signal=name)
    tables.run(workflow_name=name, status="failed")
    tables.pending(workflow_name=name, version=name)
    page = browser.get(path)
    assert page.status_code == 200, page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
