"""docs/retention.md: how long runs are kept."""

from __future__ import annotations

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/retention.md")


@PAGE.covers("prune")
def test_a_program_deletes_old_runs(connected: Sandbox) -> None:
    connected.write("prune.py", PAGE["prune"])
    assert connected.run("python prune.py") == "0 runs were deleted\n"


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
