"""A duty that one supervisor of a namespace has for all: who takes it, and when it is lost."""

from __future__ import annotations

import time
from unittest.mock import Mock

import pytest

from owsuper.db.statement import Result, Statement
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import sole_duty
from owsuper.supervisor.sole_duty import SoleDuty
from tests.supervisor.test_claims import FakeConnection

LOCK = Statement("lock", "SELECT true")
HELD, TAKEN = Result([(b"true",)]), Result([(b"false",)])


class World:
    """A supervisor with a session, and what is told to the owner of the duty."""

    def __init__(self, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.session = FakeConnection(loop)
        self.own = FakeConnection(loop)
        self.connect = Mock(return_value=self.own)
        monkeypatch.setattr(sole_duty, "KeptConnection", self.connect)
        monkeypatch.setattr(self.own, "start", self._up)
        self.told: list[str] = []
        self.duty = SoleDuty(
            loop,
            Settings(database_url="postgresql:///x"),
            self.session,
            (LOCK, ()),
            name="test",
            action="test",
            on_up=lambda: self.told.append("up"),
            on_down=lambda: self.told.append("down"),
        )
        (self.timer,) = (each for each in loop.timers._timers if each.name == "test")

    def _up(self) -> None:
        self.connect.call_args.kwargs["on_up"]()

    def look(self) -> None:
        self.timer.fire(time.monotonic())


@pytest.fixture
def world(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(loop, monkeypatch)


def test_who_gets_the_lock_connects_and_has_the_duty(world: World) -> None:
    world.look()
    assert world.duty.connection() is None
    world.session.answer(HELD)
    assert world.duty.connection() is world.own
    assert world.told == ["up"]


def test_who_does_not_get_it_asks_again_later(world: World) -> None:
    world.look()
    world.session.answer(TAKEN)
    assert world.duty.connection() is None
    assert world.timer.due > time.monotonic() + sole_duty._TAKE_OVER / 2
    world.look()
    assert [name for name, _ in world.session.sent] == ["lock", "lock"]


def test_without_a_session_nobody_asks(world: World) -> None:
    world.session.up = False
    world.look()
    assert world.session.sent == []
    assert world.timer.due < float("inf")


def test_the_duty_goes_with_the_session_that_has_the_lock(world: World) -> None:
    world.look()
    world.session.answer(HELD)
    world.session.outages += 1
    assert world.duty.connection() is None
    assert world.told == ["up", "down"]
    world.look()
    world.session.answer(TAKEN)
    assert world.duty.connection() is None


def test_a_connection_that_is_down_is_not_given_out_and_stays(world: World) -> None:
    world.look()
    world.session.answer(HELD)
    world.own.up = False
    assert world.duty.connection() is None
    world.connect.call_args.kwargs["on_down"](OSError())
    world.own.up = True
    assert world.duty.connection() is world.own
    assert world.told == ["up", "down"]


def test_a_connection_that_comes_up_for_a_lost_duty_is_given_up(world: World) -> None:
    world.look()
    world.session.answer(HELD)
    world.session.outages += 1
    world._up()
    assert world.told == ["up"]
    world.look()
    assert world.told == ["up", "down"]
    assert [name for name, _ in world.session.sent] == ["lock", "lock"]


def test_behind_a_pooler_there_is_no_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeConnection, "pooled", True)
    world.look()
    assert world.duty.connection() is world.own
    assert world.session.sent == world.own.sent == []


def test_a_closed_duty_is_over(world: World, loop: Loop) -> None:
    world.look()
    world.session.answer(HELD)
    world.duty.close()
    assert world.duty.connection() is None
    assert world.told == ["up"]
    assert not any(each.name == "test" for each in loop.timers._timers)
