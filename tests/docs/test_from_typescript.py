"""The page for those who come from TypeScript; its table of behaviour has a test of its own."""

from __future__ import annotations

from tests.docs.documents import Document

PAGE = Document("docs/from-typescript.md")


def test_every_link_of_the_page_leads_somewhere() -> None:
    assert PAGE.dead_links() == []
