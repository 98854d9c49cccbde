"""docs/concepts.md: its example writes the log that it shows, and its statuses are the code's."""

from __future__ import annotations

import re

import pytest

from owsuper import RunStatus, StepStatus
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

CONCEPTS = Document("docs/concepts.md")


@CONCEPTS.covers("tea", "log")
@pytest.mark.slow
def test_the_log_of_a_run_shows_its_executions(connected: Sandbox) -> None:
    connected.write("tea.py", CONCEPTS["tea"])
    connected.worker("owsuper --processes 1 --module tea.py")
    program = "from tea import make_tea; print(make_tea.run(2).result(timeout=30))"
    assert connected.run(f"python -c '{program}'") == "tea of 2 cups of water\n"
    assert (connected.directory / "calls.log").read_text() == CONCEPTS["log"]


def test_the_statuses_are_those_that_are_written() -> None:
    runs, steps = re.findall(r"^\| status of a .*?\n\n", CONCEPTS.text, re.M | re.S)
    legacy = {RunStatus.SLEEPING, RunStatus.SUCCEEDED, StepStatus.SUCCEEDED}
    for table, statuses in [(runs, RunStatus), (steps, StepStatus)]:
        named = re.findall(r"^\| `(\w+)` \|", table, re.M)
        assert named == [each for each in statuses if each not in legacy]


def test_every_block_of_the_page_is_executed() -> None:
    assert CONCEPTS.unexecuted() == []
