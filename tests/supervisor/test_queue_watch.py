"""The question about the queue: one that takes too long is not repeated at once."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import queue_watch
from owsuper.supervisor.queue_watch import QueueWatch
from tests.supervisor.test_claims import FakeConnection

TOO_SLOW = Result([], 0, "57014", "canceling statement due to statement timeout")


def test_a_question_that_the_database_refuses_is_asked_again_after_a_whole_period(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = FakeConnection(loop)
    monkeypatch.setattr(queue_watch, "KeptConnection", Mock(return_value=asking))
    monkeypatch.setattr(asking, "start", lambda: None)
    session: Any = Mock(up=True, pooled=True, outages=0)
    watch = QueueWatch(loop, Settings(database_url="postgresql:///x"), session, served=list)
    (timer,) = [each for each in loop.timers._timers if each.name == "ask about the queue"]
    timer.fire(0.0)
    timer.fire(0.0)
    assert [name for name, _ in asking.sent] == ["queue_depth"]
    early = timer.due
    asking.answer(TOO_SLOW)
    assert timer.due > early + queue_watch._PERIOD / 2
    assert watch.measure() == ()
