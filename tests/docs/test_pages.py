"""Every page: links lead to files and headings that exist, and lines fit in a terminal."""

from __future__ import annotations

import pytest

from tests.docs.documents import ROOT, Document

PAGES = sorted(
    str(path.relative_to(ROOT))
    for places in ("*.md", "docs/*.md", "benchmarks/*.md", "examples/*/*.md")
    for path in ROOT.glob(places)
)
GENERATED = {"benchmarks/RESULTS.md"}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert Document(page).dead_links() == []


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
def test_lines_have_at_most_100_characters(page: str) -> None:
    assert Document(page).long_lines() == []
