"""What docs/testing.md says of tests is so."""

from __future__ import annotations

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

TESTING = Document("docs/testing.md")


@TESTING.covers("shop", "test-shop", "by-hand", "any-fault", "undos", "approval")
def test_the_tests_of_the_page_pass(sandbox: Sandbox) -> None:
    sandbox.write("shop.py", TESTING["shop"])
    sandbox.write("test_shop.py", TESTING["test-shop"])
    sandbox.write("test_by_hand.py", TESTING["by-hand"])
    sandbox.write("test_any_fault.py", TESTING["any-fault"])
    sandbox.write("test_undos.py", TESTING["undos"])
    sandbox.write("test_approval.py", TESTING["approval"])
    assert "9 passed" in sandbox.run("python -m pytest -q -p no:cacheprovider .")


@TESTING.covers("fixtures", "real-steps")
def test_the_fixtures_give_a_database_and_a_worker(sandbox: Sandbox) -> None:
    sandbox.write("test_with_a_worker.py", TESTING["fixtures"])
    sandbox.write("test_real_steps.py", TESTING["real-steps"])
    assert "3 passed" in sandbox.run("python -m pytest -q -p no:cacheprovider .")


def test_a_database_of_its_own_is_not_that_of_the_fixtures(sandbox: Sandbox) -> None:
    own = TESTING["fixtures"].replace(
        "OpenWorkflow()", 'OpenWorkflow("postgresql://nobody@127.0.0.1:1/production")'
    )
    sandbox.write("test_with_a_worker.py", own)
    program = sandbox.start("python -m pytest -q -p no:cacheprovider . -k real")
    assert program.wait() == 1
    program.end()
    assert "of 127.0.0.1:1, and not the database of ow_db" in program.stdout.text
