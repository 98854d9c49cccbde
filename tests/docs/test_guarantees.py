"""docs/guarantees.md: the limits that the page names are those of the code."""

from __future__ import annotations

import re

from owsuper import StoredError
from tests.docs.documents import Document

PAGE = Document("docs/guarantees.md")


def test_messages_and_stacks_of_errors_are_cut_at_the_length_that_the_page_says() -> None:
    said = re.search(
        r"^\| messages and stacks of errors \| ([\d,]+) characters each", PAGE.text, re.M
    )
    assert said
    limit = int(said[1].replace(",", ""))
    whole = StoredError.from_exception(ValueError("x" * limit))
    assert whole.message == "x" * limit
    cut = StoredError.from_exception(ValueError("a" * limit + "b" * limit))
    for text in (cut.message, cut.stack):
        assert text is not None
        left_out = re.search(r"\n\.\.\. \d+ characters left out \.\.\.\n", text)
        assert left_out
        assert len(text) - len(left_out[0]) == limit
    assert cut.message.startswith("a" * (limit // 2))
    assert cut.message.endswith("b" * (limit // 2))
    odd = StoredError.from_exception(ValueError("\0 \ud800"))
    assert odd.message == "\\u0000 \\ud800"
