"""What docs/testing.md says of tests is so."""

from __future__ import annotations

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

TESTING = Document("docs/testing.md")


@TESTING.covers("shop", "test-shop", "by-hand")
def test_the_tests_of_the_page_pass(sandbox: Sandbox) -> None:
    sandbox.write("shop.py", TESTING["shop"])
    sandbox.write("test_shop.py", TESTING["test-shop"])
    sandbox.write("test_by_hand.py", TESTING["by-hand"])
    assert "6 passed" in sandbox.run("python -m pytest -q -p no:cacheprovider .")
