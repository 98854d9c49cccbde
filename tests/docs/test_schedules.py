"""docs/schedules.md: runs at times, by code and by hand."""

from __future__ import annotations

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/schedules.md")


@PAGE.covers("declare", "by-hand")
def test_schedules_are_declared_and_made_by_hand(connected: Sandbox) -> None:
    connected.write("flows.py", PAGE["declare"])
    connected.write("by_hand.py", PAGE["by-hand"])
    worker = connected.worker("owsuper --processes 1 --module flows.py")
    worker.stderr.wait_for("schedule poll-the-feed: declared by this code")
    printed = connected.run("python by_hand.py").split("\n")
    assert printed[0].startswith("nightly active At 03:00 every day (Europe/Berlin) ")
    assert printed[1].startswith("poll-the-feed active Every 15 minutes ")
    assert printed[2].startswith("report-7 active At 04:00 every day (Asia/Tokyo) ")
    script = (
        "from flows import ow; print(ow.schedules.trigger('nightly').result());"
        " print(len(ow.list_runs(workflow='nightly').items), len(ow.schedules.list()))"
    )
    assert connected.run(f'python -c "{script}"').split() == ["None", "5", "2"]
    worker.terminate()
    assert worker.wait() == 0


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
