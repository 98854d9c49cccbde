"""The checks of the other tests notice what they should notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BASE = "http://watched.test"


@pytest.fixture
def serve(browser: Any, shots: Path) -> Iterator[Any]:
    """Open a page of this text, 390 px wide; nothing leaves the browser."""
    from tests.dashboard.browser.watched import Watched

    context = browser.new_context(viewport={"width": 390, "height": 844})

    def serve(body: str, **headers: str) -> Watched:
        def answer(route: Any) -> None:
            if route.request.url == f"{BASE}/":
                text = f"<!doctype html><title>w</title><body>{body}"
                route.fulfill(body=text, content_type="text/html", headers=headers)
            elif route.request.url.endswith("/lost"):
                route.abort("connectionreset")
            else:
                route.fulfill(status=404)

        context.route("**/*", answer)
        watched = Watched(context.new_page(), BASE, shots, "watched")
        watched.open()
        return watched

    yield serve
    context.close()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<script>console.error('odd')</script>", "console error: odd"),
        ("<script>nowhere()</script>", "uncaught: nowhere is not defined"),
        ("<img src=/missing>", f"404: GET {BASE}/missing"),
        ("<img src=/lost>", f"net::ERR_CONNECTION_RESET: GET {BASE}/lost"),
    ],
)
def test_a_problem_of_a_page_is_noticed(serve: Any, body: str, problem: str) -> None:
    assert problem in serve(body).problems


def test_a_broken_policy_is_noticed(serve: Any) -> None:
    policy = {"Content-Security-Policy": "default-src 'none'"}
    watched = serve("<p style='color: red'>text</p><script>1</script>", **policy)
    assert len([problem for problem in watched.problems if "Content Security" in problem]) == 2


def test_a_forgiven_problem_is_forgotten_and_others_are_not(serve: Any) -> None:
    watched = serve("<p>text")
    with watched.forgiving("one"):
        watched.page.evaluate("console.error('one'); console.error('two')")
        watched.page.evaluate("1")
    assert watched.problems == ["console error: two"]


def test_what_is_wider_than_the_window_is_named_unless_it_scrolls_by_itself(serve: Any) -> None:
    wide = "<div style='width: 600px; height: 9px'></div>"
    assert serve(f"<div style='overflow-x: auto'>{wide}</div>").beyond_the_sides() == []
    [found] = serve(f"<main class=x>{wide}</main>").beyond_the_sides()
    assert found.startswith("DIV.null ends at 6")


@pytest.mark.parametrize(
    ("body", "barrier"),
    [
        ("<button style='width: 40px; height: 40px'></button>", "a control has no name"),
        ("<input>", "a control has no name"),
        ("<h3>deep</h3>", "a heading leaves out a level"),
        ("<p id=a></p><p id=a></p>", "an id is there twice"),
        ("<label for=nothing>l</label>", "for names nothing"),
        ("<svg width=9 height=9></svg>", "a drawing has no text"),
        ("<p style='color: #999'>grey", "a contrast of 2.85"),
        ("<p style='background: #000'>black", "a contrast of 1.00"),
        ("<p style='font-size: 9px'>small", "text of 9 px"),
        ("<a href=/ style='display: block; height: 9px'>l</a>", "is hard to touch"),
    ],
)
def test_a_barrier_of_a_page_is_noticed(serve: Any, body: str, barrier: str) -> None:
    watched = serve(f"<main><h1>one</h1>{body}</main>")
    watched.page.evaluate("document.documentElement.lang = 'en'")
    assert barrier in " ".join(watched.barriers())


def test_a_page_without_barriers_has_none(serve: Any) -> None:
    body = "<main><h1>one</h1><h2>two</h2><label>Name <input style='height: 30px'></label></main>"
    watched = serve(body)
    watched.page.evaluate("document.documentElement.lang = 'en'")
    assert watched.barriers() == []
