"""docs/workflows.md: its examples run as it describes."""

from __future__ import annotations

import shlex

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/workflows.md")


@PAGE.covers("step-failed")
def test_an_exhausted_step_can_be_caught(connected: Sandbox) -> None:
    connected.write("quotes.py", PAGE["step-failed"])
    connected.worker("owsuper --processes 1 --module quotes.py")
    program = "from quotes import quote; print(quote.run('1-56').result(timeout=30))"
    printed = connected.run(f"python -c {shlex.quote(program)}")
    assert printed == "1-56: as listed, because the publisher's line is busy\n"


@PAGE.covers("parallel")
def test_steps_run_in_parallel_in_sync_and_async_workflows(connected: Sandbox) -> None:
    connected.write("words.py", PAGE["parallel"])
    connected.worker("owsuper --processes 1 --module words.py")
    connected.write(
        "ask.py",
        "from words import compare, count\n"
        "words = ['a', 'bcd', 'ef']\n"
        "print(compare.run(words).result(timeout=30), count.run(words).result(timeout=30))\n",
    )
    assert connected.run("python ask.py") == "[1, 3, 2] 6\n"


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
