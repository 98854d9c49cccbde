"""A page of the browser that remembers everything that went wrong in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request, Response

# A stream of events that is left, or a page that is, ends its requests so.
LEFT = "net::ERR_ABORTED"

# What runs in the page: everything of its own that reaches past the sides of the window.
_BEYOND = """
() => {
  const inside = (node) => {
    for (let up = node.parentElement; up; up = up.parentElement) {
      const how = getComputedStyle(up).overflowX;
      if (how === 'auto' || how === 'scroll' || how === 'hidden' || how === 'clip') return true;
    }
    return false;
  };
  const width = document.documentElement.clientWidth;
  const found = [];
  if (document.documentElement.scrollWidth > width) {
    for (const node of document.body.querySelectorAll('*')) {
      const box = node.getBoundingClientRect();
      if (box.width && box.right > width + 0.5 && !inside(node)) {
        found.push(`${node.tagName}.${node.getAttribute('class')} ends at ${box.right}`);
      }
    }
    if (!found.length) found.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  }
  return found;
}
"""

_AUDIT = Path(__file__).with_name("audit.js").read_text()


class Watched:
    """``page``, and its ``problems``: console errors, broken policies, failed requests."""

    def __init__(self, page: Page, base: str, shots: Path, name: str) -> None:
        self.page = page
        self.base = base
        self.problems: list[str] = []
        self._shots = shots
        self._name = name
        self._pictures = 0
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)

    def open(self, path: str = "/") -> None:
        """Go to ``path`` of the dashboard and wait until it is loaded."""
        answer = self.page.goto(self.base + path)
        assert answer is not None

    def leave(self) -> None:
        """Keep a picture, and leave the dashboard, which may stop then."""
        self.shot("left")
        self.page.goto("about:blank")

    def shot(self, name: str = "") -> Path:
        """Keep a picture of the whole page."""
        self._pictures += 1
        path = self._shots / f"{self._name}-{self._pictures}{name and '-' + name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path

    def beyond_the_sides(self) -> list[str]:
        """What makes the page wider than its window. Boxes that scroll by themselves may."""
        found: list[str] = self.page.evaluate(_BEYOND)
        return found

    def barriers(self) -> list[str]:
        """What keeps people from reading or using the page: no name, no contrast, and so on."""
        found: list[str] = self.page.evaluate(_AUDIT)
        return found

    @contextmanager
    def forgiving(self, *parts: str) -> Iterator[None]:
        """Forgive problems that have one of ``parts`` in them; without parts, all."""
        before, self.problems = self.problems, []
        try:
            yield
        finally:
            left = [p for p in self.problems if parts and not any(part in p for part in parts)]
            self.problems = before + left

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text}")

    def _on_failed(self, request: Request) -> None:
        if request.failure != LEFT:
            self.problems.append(f"{request.failure}: {request.method} {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.request.method} {response.url}")


def launched(playwright: Any, executable: str) -> Any:
    """Chromium, which asks nobody for anything: no updates, no synchronization, no services."""
    return playwright.chromium.launch(
        executable_path=executable,
        args=[
            *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        ],
    )
