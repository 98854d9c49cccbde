"""CONTRIBUTING.md: the files that it names exist, and so do the commands."""

from __future__ import annotations

import re

from tests.docs.documents import ROOT, Document

PAGE = Document("CONTRIBUTING.md")
ROOMS = "owsuper|sql|tests|docs|benchmarks"


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(rf"`((?:{ROOMS})/[\w/.-]*)`", PAGE.text)
    assert len(named) > 50
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_module_and_package_belongs_to_a_line_of_the_map() -> None:
    section = PAGE.text.partition("## Where things are")[2].partition("\n## ")[0]
    named = [ROOT / name for name in re.findall(r"`((?:owsuper|sql|benchmarks)/[\w/.]*)`", section)]
    rooms = {each.name for each in (ROOT / "owsuper").iterdir() if (each / "__init__.py").exists()}
    found = {
        path.relative_to(ROOT / "owsuper").parts[0] for path in named if "owsuper" in path.parts
    }
    assert rooms - found == set()


def test_every_target_of_make_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.M))
    named = set(re.findall(r"\bmake ([\w-]+)", PAGE.text))
    assert named - targets == set()
