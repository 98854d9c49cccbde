"""What the claiming connection makes of answers, without a connection."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from owsuper.db.nonblocking import Result
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor.claims import Claims


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_a_claimed_run_that_cannot_be_read_is_told_of_and_left_alone(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    owner: Any = Mock()
    claims = Claims(loop, "", Settings(), owner)
    about = b'{"next": null, "new": null, "begun": null, "took": 0.0}'
    with caplog.at_level(logging.ERROR):
        claims._answer_claim(Result([(about, None), (b'{"run": "odd"}', None)]))
    (claimed,) = owner.claimed.call_args.args
    assert claimed.runs == []
    [record] = caplog.records
    assert vars(record)["run_id"] == "odd"
    assert "cannot be read (KeyError: " in record.getMessage()
