"""When a supervisor stores the limits of its code, without a database."""

from __future__ import annotations

import pytest

from owsuper.db.limits import LimitQueries
from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.ipc.messages import ApplicationLoaded
from owsuper.supervisor.limits import LimitRegistration
from tests.supervisor.test_claims import FakeConnection

LIMITS = (
    '[{"name": "l", "kind": "concurrency", "amount": 1, "period": null, "burst": null,'
    ' "path": null, "keyed": false, "hold": "run", "on_conflict": "queue", "delay": null,'
    ' "workflows": ["w"]}]'
)
W = (("w", None),)


class Code:
    """What is loaded now."""

    def __init__(self) -> None:
        self.loaded = ApplicationLoaded(workflows=W, limits=LIMITS)


@pytest.fixture
def connection(loop: Loop) -> FakeConnection:
    return FakeConnection(loop)


@pytest.fixture
def code() -> Code:
    return Code()


@pytest.fixture
def limits(connection: FakeConnection, code: Code) -> LimitRegistration:
    return LimitRegistration(
        connection,
        LimitQueries("s", "default"),
        served=lambda: W,
        loaded=lambda: code.loaded,
    )


def test_the_limits_of_a_code_are_sent_once(
    limits: LimitRegistration, connection: FakeConnection, code: Code
) -> None:
    for _ in range(2):
        limits.send()
    limits.on_found([("w", "another")])
    assert len(connection.sent) == 1
    code.loaded = ApplicationLoaded(workflows=W, limits=LIMITS)
    limits.send()
    assert len(connection.sent) == 2


def test_limits_that_the_database_refuses_are_sent_again(
    limits: LimitRegistration, connection: FakeConnection
) -> None:
    limits.send()
    assert not limits.refused
    connection.answer(Result([], 0, "42501", "permission denied for table owsuper_limits"))
    assert limits.refused
    limits.send()
    connection.answer(Result([(b"l", b"stored")]))
    assert not limits.refused
    limits.send()
    assert len(connection.sent) == 2


def test_runs_of_workflows_whose_limits_are_refused_do_not_begin(
    limits: LimitRegistration, connection: FakeConnection
) -> None:
    limits.send()
    limits.on_found([])  # newer code has removed the limit, for example
    assert not limits.unstored
    connection.answer(Result([], 0, "42501", "permission denied for table owsuper_limits"))
    limits.on_found([("w", "l")])  # it was stored before
    assert not limits.unstored
    limits.on_found([])
    assert limits.unstored == {"w"}
    limits.send()
    connection.answer(Result([(b"l", b"stored")]))
    limits.on_found([("w", "l")])
    assert not limits.unstored


def test_code_without_limits_sends_something_only_if_others_are_stored(
    limits: LimitRegistration, connection: FakeConnection, code: Code
) -> None:
    code.loaded = ApplicationLoaded(workflows=W)
    limits.send()
    limits.on_found([])
    assert connection.sent == []
    limits.on_found([("w", "another")])
    assert len(connection.sent) == 1
