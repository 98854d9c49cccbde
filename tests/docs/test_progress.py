"""docs/progress.md: a run says how far it is."""

from __future__ import annotations

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/progress.md")


@PAGE.covers("progress")
def test_a_run_says_how_far_it_is(connected: Sandbox) -> None:
    connected.write("importing.py", PAGE["progress"])
    worker = connected.worker("owsuper --processes 1 --module importing.py")
    script = (
        "from importing import import_files, import_all; h = import_files.run(['a', 'b']);"
        " print(h.result()); import_all(['a'], print)"
    )
    connected.run(f'python -c "{script}"')
    worker.terminate()
    assert worker.wait() == 0  # what was reported last is written by now
    worker.end()
    script = (
        "from importing import ow; [run] = ow.list_runs().items;"
        " print(ow.get_run(run.id).progress())"
    )
    assert "done=2, total=2, message=None, step='import'" in connected.run(f'python -c "{script}"')


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
