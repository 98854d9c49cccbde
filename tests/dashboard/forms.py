"""The forms of a page, filled in and sent as a browser without JavaScript does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient


@dataclass
class Form:
    """A form: where it leads, and what would be sent with each button."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str | None, str, str | None]] = field(default_factory=list)

    def value(self, name: str) -> str | None:
        return dict(self.fields).get(name)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._text: tuple[str, list[str]] | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif not self.forms:
            return
        elif tag == "button":
            self.forms[-1].buttons.append(
                (given.get("name"), given.get("value", ""), given.get("formaction"))
            )
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and self._select is not None and "selected" in given:
            self._put(self._select, given.get("value", ""))
        elif tag == "textarea":
            self._text = given["name"], []
        elif tag == "input" and "name" in given:
            box = given.get("type") in ("checkbox", "radio")
            if not box or "checked" in given:
                self._put(given["name"], given.get("value", "on" if box else ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        elif tag == "textarea" and self._text is not None:
            name, parts = self._text
            self._put(name, "".join(parts).removeprefix("\n"))
            self._text = None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text[1].append(data)

    def _put(self, name: str, value: str) -> None:
        self.forms[-1].fields.append((name, value))


def forms(page: Response) -> list[Form]:
    """The forms of a page, but for those of its frame."""
    reader = _Reader()
    reader.feed(page.text)
    return [each for each in reader.forms if not each.action.endswith(("/theme", "/logout"))]


def send(browser: TestClient, form: Form, button: int = 0, **changes: Any) -> Response:
    """Send a form by one of its buttons, with some fields changed; None leaves one out."""
    fields = [(name, value) for name, value in form.fields if name not in changes]
    for changed, given in changes.items():
        several = given if isinstance(given, list) else [given]
        fields += [(changed, each) for each in several if each is not None]
    name, value, formaction = form.buttons[button]
    if name is not None:
        fields.append((name, value))
    data: dict[str, list[str]] = {}
    for key, each in fields:
        data.setdefault(key, []).append(each)
    if form.method == "get":
        return browser.get(formaction or form.action, params=data)
    return browser.post(formaction or form.action, data=data)


def act(browser: TestClient, path: str, button: int = 0, **changes: Any) -> Response:
    """Open a page, send its first form, and follow to the page with the answer."""
    page = browser.get(path)
    assert page.status_code == 200, page.text
    return follow(browser, send(browser, forms(page)[0], button, **changes))


def follow(browser: TestClient, answer: Response) -> Response:
    assert answer.status_code == 303, answer.text
    return browser.get(answer.headers["location"])


def finished(browser: TestClient, page: Response) -> Response:
    """The page with the answer, when the action is over: as a browser that follows it."""
    deadline = time.monotonic() + 600
    while 'http-equiv="refresh"' in page.text:
        assert time.monotonic() < deadline, page.text
        time.sleep(0.2)  # a page can only be polled
        page = browser.get(str(page.url))
    return page
