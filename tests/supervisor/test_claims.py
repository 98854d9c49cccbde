"""What claims, sweeps and crash records make of the database's answers, without a database."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from owsuper.db.claims import ClaimQueries
from owsuper.db.crashes import CrashQueries
from owsuper.db.statement import Result
from owsuper.db.sweeps import SweepQueries
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import post_mortem
from owsuper.supervisor.claims import Claims
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.crashes import Crashes
from owsuper.supervisor.exit_status import Evidence
from owsuper.supervisor.portions import Portions
from owsuper.supervisor.sweeps import Sweeps
from tests.supervisor.conftest import run_that

QUERIES = ClaimQueries("openworkflow", "default")
CRASHES = CrashQueries("openworkflow", "default")
SWEEPS = SweepQueries("openworkflow", "default")
WORKFLOWS = (("obey", None),)
REFUSED = Result([], 0, "42P01", 'relation "workflow_runs" does not exist')


class FakeConnection(KeptConnection):
    """Keeps statements instead of sending them; the test answers."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, "", name="test", on_up=lambda: None)
        self.up = True
        self.sent: list[tuple[str, Sequence[Any]]] = []
        self._handlers: list[Callable[[Result], None]] = []

    def send(self, statement: Any, params: Any, on_result: Callable[[Result], None]) -> None:
        self.sent.append((statement.name, params))
        self._handlers.append(on_result)

    send_reliably = send

    def answer(self, result: Result) -> None:
        self._handlers.pop(0)(result)


@pytest.fixture
def connection(loop: Loop) -> Any:
    return FakeConnection(loop)


# --- claims --------------------------------------------------------------------------------------


@pytest.fixture
def observer() -> Mock:
    return Mock()


@pytest.fixture
def claims(connection: FakeConnection, observer: Mock) -> Claims:
    return Claims(connection, QUERIES, Settings(), observer, supervisor_id="host:1:me")


def test_a_claimed_run_that_cannot_be_read_is_logged_and_left_alone(
    claims: Claims, connection: FakeConnection, observer: Mock, caplog: pytest.LogCaptureFixture
) -> None:
    about = (
        b'{"next": null, "due": null, "new": null, "begun": null, "took": 0.0,'
        b' "more": false, "complete": true, "quiet": true, "waited": null}'
    )
    claims.claim(5, WORKFLOWS)
    with caplog.at_level(logging.ERROR):
        connection.answer(Result([(about, None), (b'{"run": "odd"}', None)]))
    (claimed,) = observer.on_claimed.call_args.args
    assert claimed.runs == []
    assert observer.on_claimed.call_args.kwargs == {"limit": 5}
    [record] = caplog.records
    assert vars(record)["run_id"] == "odd"
    assert "cannot read a claimed run (KeyError: " in record.getMessage()


def test_a_refused_claim_is_a_failed_claim(
    claims: Claims, connection: FakeConnection, observer: Mock
) -> None:
    claims.claim(5, WORKFLOWS)
    assert claims.claiming
    connection.answer(REFUSED)
    assert not claims.claiming
    observer.on_claim_failed.assert_called_once_with()
    observer.on_claimed.assert_not_called()


ABOUT = (
    b'{"next": 3.0, "due": "7", "new": null, "begun": null, "took": 0.0, "more": false,'
    b' "complete": true, "quiet": true, "waited": null}'
)
RUN = (
    b'{"run": "1", "name": "report", "version": null, "worker": "host:1:me:1", "attempts": 1,'
    b' "stored": false, "created": "2026-01-01T00:00:00+00:00",'
    b' "started": "2026-01-01T00:00:00+00:00", "claimed": "2026-01-01T00:00:00+00:00",'
    b' "deadline": null, "suspect": false, "trace": null}'
)


def divided(connection: FakeConnection, observer: Mock) -> Claims:
    """Claims whose first statement is about ``report``, and the next about all others."""
    portions = Portions(lambda: {"report": 1}, list)
    return Claims(
        connection, QUERIES, Settings(), observer, supervisor_id="host:1:me", portions=portions
    )


def test_a_divided_claim_is_answered_once(connection: FakeConnection, observer: Mock) -> None:
    claims = divided(connection, observer)
    claims.claim(5, (("report", None), *WORKFLOWS))
    connection.answer(Result([(ABOUT, None), (RUN, b"null")]))
    observer.on_claimed.assert_not_called()
    assert claims.claiming
    connection.answer(Result([(ABOUT, None)]))
    assert [json.loads(params[1])[0]["name"] for _, params in connection.sent] == ["report", "obey"]
    assert [params[2] for _, params in connection.sent] == [1, 4]
    (claimed,) = observer.on_claimed.call_args.args
    assert [run.run_id for run in claimed.runs] == ["1"]
    assert observer.on_claimed.call_args.kwargs == {"limit": 5}
    assert not claims.claiming


def test_a_divided_claim_that_fails_keeps_the_runs_that_it_has(
    connection: FakeConnection, observer: Mock
) -> None:
    claims = divided(connection, observer)
    claims.claim(5, (("report", None), *WORKFLOWS))
    connection.answer(Result([(ABOUT, None), (RUN, b"null")]))
    connection.answer(REFUSED)
    (claimed,) = observer.on_claimed.call_args.args
    assert [run.run_id for run in claimed.runs] == ["1"]
    observer.on_claim_failed.assert_not_called()
    assert not claims.claiming


def test_a_claim_that_is_lost_with_the_connection_is_a_failed_claim(
    claims: Claims, observer: Mock
) -> None:
    claims.on_connection_lost()
    observer.on_claim_failed.assert_not_called()
    claims.claim(5, WORKFLOWS)
    claims.on_connection_lost()
    assert not claims.claiming
    observer.on_claim_failed.assert_called_once_with()


def test_a_renewal_reports_the_leases_that_are_lost(
    claims: Claims, connection: FakeConnection, observer: Mock
) -> None:
    kept, lost = run_that("hold"), run_that("hold")
    kept.renewed_at = lost.renewed_at = 0.0
    claims.renew([kept, lost], 7.0)
    claims.renew([kept, lost], 8.0)
    assert len(connection.sent) == 1, "one renewal is in flight at a time"
    connection.answer(Result([(kept.run.worker_id.encode(), b"true")]))
    assert (kept.renewed_at, lost.renewed_at) == (7.0, 0.0)
    observer.on_leases_lost.assert_called_once_with(frozenset([lost.run.worker_id]))


# --- sweeps --------------------------------------------------------------------------------------


def swept(*run_ids: str, more: bool = False) -> Result:
    about = b'{"more": %s, "since": "infinity", "took": 0.0}' % str(more).lower().encode()
    return Result([(about,), *((run_id.encode(),) for run_id in run_ids)])


def test_a_sweep_goes_on_while_there_are_more_runs(
    connection: FakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    released = Mock()
    sweeps = Sweeps(connection, SWEEPS, on_released=released)
    sweeps.release_lapsed(WORKFLOWS)
    sweeps.release_lapsed(WORKFLOWS)
    assert len(connection.sent) == 1, "one sweep of a kind is in flight at a time"
    with caplog.at_level(logging.WARNING):
        connection.answer(swept("a", "b", more=True))
    assert [vars(record)["run_id"] for record in caplog.records] == ["a", "b"]
    assert released.call_count == 2
    assert [name for name, _ in connection.sent] == ["release_lapsed"] * 2


def test_old_log_lines_are_deleted_as_long_as_there_are_more(connection: FakeConnection) -> None:
    sweeps = Sweeps(connection, SWEEPS, on_released=Mock())
    sweeps.forget_log_lines(60.0)
    sweeps.forget_log_lines(60.0)
    assert len(connection.sent) == 1
    connection.answer(Result([(b"5000",)]))
    connection.answer(Result([(b"4999",)]))
    assert [name for name, _ in connection.sent] == ["forget_log_lines"] * 2
    sweeps.forget_log_lines(60.0)
    connection.answer(REFUSED)
    sweeps.forget_log_lines(60.0)
    assert len(connection.sent) == 4


def test_a_refusal_that_repeats_is_logged_once(
    connection: FakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    sweeps = Sweeps(connection, SWEEPS, on_released=Mock())
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            sweeps.expire_deadlines()
            connection.answer(REFUSED)
    [record] = caplog.records
    assert record.getMessage() == (
        'the database refused to sweep deadlines: relation "workflow_runs" does not exist;'
        " run owsuper migrate"
    )


# --- crashes -------------------------------------------------------------------------------------


def dead_child(**held: Any) -> Mock:
    """A child as the supervisor sees it, which held these runs by slot."""
    child = Mock(
        held={int(slot[-1]): run for slot, run in held.items()}, overdue={}, load_failure=None
    )
    child.number, child.pid = 3, 4711
    child.killed_by_supervisor, child.cause_of_kill = False, None
    child.requested_at = 0.0
    child.log_fields.return_value = {"child": 3, "pid": 4711}
    child.steps_in_flight.return_value = "charge"
    child.step_began_at.return_value = None
    child.last_stderr.return_value = child.trace.return_value = None
    return child


def test_a_child_that_died_idle_is_logged_and_not_recorded(
    connection: FakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    child = dead_child()
    with caplog.at_level(logging.ERROR):
        Crashes(connection, CRASHES, max_crashes=3).record(child, Evidence(4711, 9, 1234))
    assert connection.sent == []
    [record] = caplog.records
    assert record.getMessage() == "child died: signal SIGKILL"
    assert vars(record)["max_rss_kb"] == 1234


@pytest.mark.parametrize(
    ("failed", "message"),
    [
        (b"f", "run released after a crash"),
        (b"t", "run failed: it keeps killing its process"),
    ],
)
def test_the_outcome_of_a_crash_is_logged(
    connection: FakeConnection, caplog: pytest.LogCaptureFixture, failed: bytes, message: str
) -> None:
    held = run_that("hold")
    child = dead_child(slot0=held)
    Crashes(connection, CRASHES, max_crashes=3).record(child, Evidence(4711, 9, 1234))
    [(name, params)] = connection.sent
    assert name == "record_crash"
    assert '"cause":"signal SIGKILL"' in params[1]
    assert '"step":"charge"' in params[1]
    run_id, worker_id = held.run.run_id.encode(), held.run.worker_id.encode()
    with caplog.at_level(logging.INFO):
        connection.answer(Result([(worker_id, run_id, b"2", failed)]))
    record = caplog.records[-1]
    assert record.getMessage() == message
    assert (vars(record)["workflow"], vars(record)["crashes"]) == ("obey", 2)


def test_the_stacks_of_a_dead_child_are_logged(
    connection: FakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    child = dead_child()
    child.trace.return_value = "Fatal Python error: Aborted\n\nCurrent thread 0x1:\n  File"
    with caplog.at_level(logging.ERROR):
        Crashes(connection, CRASHES, max_crashes=3).record(child, Evidence(4711, 6, 1234))
    assert caplog.messages[-1].splitlines() == [
        "stacks of child 3, process 4711:",
        *child.trace.return_value.splitlines(),
    ]


def test_of_long_stacks_those_of_the_thread_that_died_are_kept(connection: FakeConnection) -> None:
    threads = [f"Thread {n}:" + "\n  File x" * 300 for n in range(30)]
    threads.insert(20, "Current thread 0x1:\n  File culprit")
    child = dead_child(slot0=run_that("hold"))
    child.trace.return_value = "Fatal Python error: Aborted\n\n" + "\n\n".join(threads)
    Crashes(connection, CRASHES, max_crashes=3).record(child, Evidence(4711, 6))
    [(_, params)] = connection.sent
    [claim] = json.loads(params[1])
    kept = claim["details"]["trace"]
    assert kept.startswith("Fatal Python error: Aborted\n\nCurrent thread 0x1:\n  File culprit\n")
    assert len(kept) < 17_000
    assert "Thread 0:" in kept


@pytest.mark.parametrize("heading", ["Fatal Python error: Aborted\n\n", ""])
def test_the_thread_that_died_comes_first(heading: str) -> None:
    child = dead_child()
    threads = ["Thread 0x1:\n  File a", "Current thread 0x2:\n  File b", "Thread 0x3:\n  File c"]
    child.trace.return_value = heading + "\n\n".join(threads) + "\n\nExtension modules: d\n"
    assert post_mortem.trace(child) == heading + (
        "Current thread 0x2:\n  File b\n\nThread 0x1:\n  File a\n\nThread 0x3:\n  File c\n\n"
        "Extension modules: d"
    )


def test_what_jsonb_does_not_take_is_replaced(connection: FakeConnection) -> None:
    child = dead_child(slot0=run_that("hold"))
    child.last_stderr.return_value = "a\0b"
    Crashes(connection, CRASHES, max_crashes=3).keep_post_mortems(child, Evidence(4711, 9))
    [(name, params)] = connection.sent
    assert name == "keep_post_mortems"
    assert json.loads(params[1])[0]["evidence"]["stderr"] == "a\ufffdb"


def test_a_child_that_held_nothing_leaves_no_post_mortem(connection: FakeConnection) -> None:
    Crashes(connection, CRASHES, max_crashes=3).keep_post_mortems(dead_child(), Evidence(4711, 9))
    assert connection.sent == []
