"""The question about the queue: one that takes too long is not repeated at once."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest

from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import queue_watch, sole_duty
from owsuper.supervisor.queue_watch import QueueWatch
from tests.supervisor.test_claims import FakeConnection

TOO_SLOW = Result([], 0, "57014", "canceling statement due to statement timeout")


def test_a_question_that_the_database_refuses_is_asked_again_after_a_whole_period(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = FakeConnection(loop)
    connect = Mock(return_value=asking)
    monkeypatch.setattr(sole_duty, "KeptConnection", connect)
    monkeypatch.setattr(asking, "start", lambda: connect.call_args.kwargs["on_up"]())
    monkeypatch.setattr(FakeConnection, "pooled", True)
    session: Any = Mock(up=True, pooled=True, outages=0)
    watch = QueueWatch(loop, Settings(database_url="postgresql:///x"), session, served=list)
    timers = {each.name: each for each in loop.timers._timers}
    timer = timers["ask about the queue"]
    timers["note who asks about the queue"].fire(0.0)
    assert [name for name, _ in asking.sent] == ["queue_depth"]
    timer.cancel()
    asking.answer(TOO_SLOW)
    assert timer.due > time.monotonic() + queue_watch._PERIOD / 2
    assert watch.measure() == ()
