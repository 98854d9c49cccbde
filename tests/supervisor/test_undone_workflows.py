"""Which workflows a supervisor serves so that their runs are undone, without a database."""

from __future__ import annotations

import pytest

from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.supervisor.undone_workflows import UndoneWorkflows
from tests.supervisor.test_claims import QUERIES, REFUSED, FakeConnection

SERVED = (("buy", None), ("buy", "2"), ("sell", None))


@pytest.fixture
def connection(loop: Loop) -> FakeConnection:
    return FakeConnection(loop)


@pytest.fixture
def undone(connection: FakeConnection) -> UndoneWorkflows:
    return UndoneWorkflows(connection, QUERIES)


def found(*workflows: tuple[str, str | None]) -> Result:
    return Result([(name.encode(), None if v is None else v.encode()) for name, v in workflows])


def test_the_undos_of_what_is_served_are_served_too(
    undone: UndoneWorkflows, connection: FakeConnection
) -> None:
    assert undone.add_to(SERVED) is SERVED
    undone.look()
    connection.answer(found(("buy", "2"), ("other", None)))
    served = undone.add_to(SERVED)
    assert served == (*SERVED, ("undo:buy", "2"))
    assert undone.add_to(SERVED) is served
    undone.look()
    connection.answer(REFUSED)
    assert undone.add_to(SERVED) is served


def test_a_change_during_a_look_is_looked_at_again(
    undone: UndoneWorkflows, connection: FakeConnection
) -> None:
    for _ in range(3):
        undone.look()
    assert len(connection.sent) == 1
    connection.answer(found())
    assert undone.looking
    connection.answer(found(("sell", None)))
    assert not undone.looking
    assert len(connection.sent) == 2
    assert undone.add_to(SERVED)[len(SERVED) :] == (("undo:sell", None),)


def test_without_a_connection_nothing_is_read(
    undone: UndoneWorkflows, connection: FakeConnection
) -> None:
    undone.look()
    undone.look()
    undone.on_connection_lost()
    connection.up = False
    undone.look()
    assert len(connection.sent) == 1


def test_an_answer_that_is_refused_is_asked_for_again(
    undone: UndoneWorkflows, connection: FakeConnection
) -> None:
    undone.look()
    connection.answer(Result([], 0, "53200", "out of shared memory"))
    assert undone.refused
    undone.look()
    connection.answer(found(("buy", None)))
    assert not undone.refused
    undone.look()
    connection.answer(REFUSED)  # there is no such table
    assert not undone.refused
