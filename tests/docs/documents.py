"""Finds the examples in a document, and remembers which of them a test executes.

An example is a fenced block under a comment that names it:

    <!-- test: a-name -->
    ```python
    ...
    ```

A block without a name, or with one that no test claims, fails the document's own test. Only
blocks of ``text``, which are pictures, need none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(
    r"(?:^<!-- test: (?P<name>[\w-]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Block:
    """``line`` is where its text begins in the document."""

    name: str | None
    language: str
    text: str
    line: int


class Document:
    """A Markdown file, by its path from the root of the repository."""

    def __init__(self, path: str) -> None:
        self.path = ROOT / path
        self._claimed: set[str] = set()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return [
            Block(
                found["name"],
                found["language"],
                found["text"],
                self.text.count("\n", 0, found.start("text")) + 1,
            )
            for found in FENCED.finditer(self.text)
        ]

    def covers(self, *names: str) -> Callable[[F], F]:
        """Marks a test that executes these blocks."""
        self._claimed.update(names)
        return lambda test: test

    def __getitem__(self, name: str) -> str:
        """The text of the block of this name, which must be claimed."""
        assert name in self._claimed, f"say @covers({name!r})"
        (block,) = (block for block in self.blocks if block.name == name)
        return block.text

    def unexecuted(self) -> list[str]:
        """Blocks that no test executes, and tests for blocks that are gone."""
        names = [block.name for block in self.blocks]
        loose = [
            f"{self.path.name}:{block.line}: {block.name or 'a block without a name'}"
            for block in self.blocks
            if not (block.language == "text" and block.name is None)
            and (block.name not in self._claimed or names.count(block.name) > 1)
        ]
        return loose + sorted(self._claimed.difference(filter(None, names)))

    def dead_links(self) -> list[str]:
        """Links to files that do not exist, or to headings that are not there."""
        return [link for link in LINK.findall(self.text) if not self._leads_somewhere(link)]

    def long_lines(self) -> list[str]:
        """Lines of prose that are too long to be read in a terminal; tables cannot be broken."""
        prose = FENCED.sub("", self.text).splitlines()
        return [line for line in prose if len(line) > 100 and line[0] != "|"]

    def _leads_somewhere(self, link: str) -> bool:
        if link.startswith("http"):
            return True
        name, _, anchor = link.partition("#")
        target = (self.path.parent / name).resolve() if name else self.path
        if not target.exists():
            return False
        return not anchor or anchor in _anchors(target.read_text(encoding="utf-8"))


def _anchors(text: str) -> set[str]:
    """The names that a heading is linked by."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
