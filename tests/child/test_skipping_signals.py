"""Signals whose data does not fit: with ``on_invalid="skip"`` a step sets them aside."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from owsuper import SkippedSignal
from owsuper.db import connect
from owsuper.db.related import RelatedStore
from owsuper.errors import RunNotFound
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, Body, sync_and_async
from tests.child.test_signals import (
    Approval,
    deliveries,
    kept,
    send_within,
    wait_until_blocked,
)

GOOD, BAD = {"by": "Ada"}, {"by": 1}


def approval(**more: Any) -> Body:
    def body(step: Any) -> Any:
        return (yield step.wait_for_signal("go", type=Approval, on_invalid="skip", **more))

    return body


def skipped(engine: Engine, run_id: str) -> list[Any]:
    return [each.data for each in engine.ow.list_skipped_signals(run_id)]


@sync_and_async
class TestSkipping:
    def test_the_run_waits_on_and_the_signal_is_kept_and_logged(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine.workflow(as_workflow(approval(name="approval")))
        run_id = engine.start()
        engine.execute_once(run_id)
        [wait] = engine.steps(run_id)
        for data in (BAD, "text"):
            assert engine.ow.send_signal("go", data) == [run_id]
            assert engine.execute_once(run_id).outcome == "parked"
            [waiting] = engine.steps(run_id)
            assert (waiting["id"], waiting["status"]) == (wait["id"], "running")
            assert waiting["context"]["timeoutAt"] == wait["context"]["timeoutAt"]
        row = engine.row(run_id)
        assert row["available_at"] - row["updated_at"] > timedelta(days=300)

        assert engine.ow.send_signal("go", GOOD) == [run_id]
        assert engine.finish(run_id)["output"] == {"data": GOOD}
        first, second = engine.ow.list_skipped_signals(run_id)
        assert isinstance(first, SkippedSignal)
        assert (first.run_id, first.step_name, first.signal) == (run_id, "approval", "go")
        assert (first.data, second.data) == (BAD, "text")
        assert first.reason == "data.by of signal 'go': expected str, got int"
        assert first.sent_at <= first.skipped_at <= second.skipped_at
        logged = [each for each in caplog.records if each.message == "signal skipped"]
        assert [each.levelno for each in logged] == [logging.WARNING] * 2
        assert vars(logged[0])["run_id"] == run_id
        assert vars(logged[0])["error"] == first.reason

    def test_signals_that_come_before_a_misfit_is_read_wait_their_turn(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(approval()))
        run_id = engine.start()
        engine.execute_once(run_id)
        sent: list[Any] = [BAD, 7, GOOD, {"by": "late"}]
        for data in sent:
            assert engine.ow.send_signal("go", data) == [run_id]
        assert engine.finish(run_id)["output"] == {"data": GOOD}
        assert skipped(engine, run_id) == [BAD, 7]
        assert [row[1] for row in deliveries(engine)] == sent

    @pytest.mark.parametrize("timeout", ["1h", 0])
    def test_kept_signals_are_taken_in_order_until_one_fits(
        self, engine: Engine, as_workflow: AsWorkflow, timeout: Any
    ) -> None:
        engine.workflow(as_workflow(approval(timeout=timeout)))
        for data in (BAD, 7, GOOD, {"by": "next"}):
            engine.ow.send_signal("go", data, buffer=True)
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == {"data": GOOD}
        assert skipped(engine, run_id) == [BAD, 7]
        assert kept(engine) == 1

    def test_a_signal_to_be_kept_that_comes_behind_a_misfit_is_kept_until_it_is_skipped(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(approval()))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.send_signal("go", BAD)
        assert engine.ow.send_signal("go", GOOD, buffer=True) == []
        assert kept(engine) == 1
        assert engine.finish(run_id)["output"] == {"data": GOOD}
        assert kept(engine) == 0

    def test_when_none_fits_the_wait_ends_at_its_time(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(approval(timeout="1h")))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.send_signal("go", BAD)
        assert engine.finish(run_id)["output"] is None
        assert skipped(engine, run_id) == [BAD]
        assert engine.statuses(run_id) == [("go", "completed")]

    def test_a_replay_sees_what_the_first_execution_saw(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        seen: list[Any] = []

        def body(step: Any) -> Any:
            for number in range(2):
                signal = yield step.wait_for_signal(
                    "go", type=Approval, on_invalid="skip", name="approval"
                )
                seen.append((number, signal.data.by))
                yield step.run("note", calls(f"note {number}"))
            yield step.sleep("pause", "1h")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        for data in (BAD, {"by": "one"}, BAD, {"by": "two"}):
            engine.execute_once(run_id)
            engine.ow.send_signal("go", data)
        engine.finish(run_id)
        assert set(seen) == {(0, "one"), (1, "two")}
        assert [number for number, _ in seen[-2:]] == [0, 1]
        assert calls.made == ["note 0", "note 1"]
        assert skipped(engine, run_id) == [BAD, BAD]
        steps = [each.step_name for each in engine.ow.list_skipped_signals(run_id)]
        assert steps == ["approval", "approval:1"]

    def test_each_of_two_waits_judges_for_itself(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            kind = int if (yield step.run("which", lambda: step.run_id)) == first else Approval
            return (yield step.wait_for_signal("go", type=kind, on_invalid="skip"))

        engine.workflow(as_workflow(body))
        first, second = engine.start(), engine.start()
        for run_id in (first, second):
            engine.execute_once(run_id)
        assert sorted(engine.ow.send_signal("go", 7)) == sorted([first, second])
        assert engine.finish(first)["output"] == {"data": 7}
        assert engine.execute_once(second).outcome == "parked"
        assert engine.ow.send_signal("go", GOOD) == [second]
        assert engine.finish(second)["output"] == {"data": GOOD}
        assert (skipped(engine, first), skipped(engine, second)) == ([], [7])

    def test_a_key_stays_used_when_its_signal_is_skipped(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(approval()))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert engine.ow.send_signal("go", BAD, idempotency_key="k") == [run_id]
        engine.execute_once(run_id)
        assert engine.ow.send_signal("go", GOOD, idempotency_key="k") == [run_id]
        assert len(deliveries(engine)) == 1
        assert engine.row(run_id)["available_at"] > engine.row(run_id)["updated_at"]

    def test_a_signal_that_is_sent_while_one_is_skipped_is_not_lost(
        self, engine: Engine, as_workflow: AsWorkflow, database_url: str
    ) -> None:
        engine.workflow(as_workflow(approval()))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.send_signal("go", BAD)
        sender = connect.connect(database_url, application_name="owsuper test")
        with closing(sender), ThreadPoolExecutor(1) as pool:
            with sender.transaction():
                send_within(sender, engine, b'{"by": "Ada"}')
                ended = pool.submit(engine.execute_once, run_id)
                wait_until_blocked(sender, ended)
            assert ended.result(60).outcome == "completed"
        assert engine.row(run_id)["output"] == {"data": GOOD}
        assert kept(engine) == 0

    def test_another_implementations_signal_that_comes_while_one_is_skipped_is_not_lost(
        self, engine: Engine, as_workflow: AsWorkflow, database_url: str
    ) -> None:
        """It locks the steps that wait, delivers, and wakes the runs."""
        engine.workflow(as_workflow(approval()))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.send_signal("go", BAD)
        [wait] = engine.steps(run_id)
        tables = f'"{engine.schema}"'
        other = connect.connect(database_url, application_name="owsuper test")
        with closing(other), ThreadPoolExecutor(1) as pool:
            with other.transaction():
                lock = f"SELECT 1 FROM {tables}.step_attempts WHERE id = $1 FOR UPDATE"
                other.execute(lock.encode(), [wait["id"]])
                ended = pool.submit(engine.execute_once, run_id)
                wait_until_blocked(other, ended)
            assert ended.result(60).outcome == "parked"
        delivery = (
            f"INSERT INTO {tables}.workflow_signals (namespace_id, id, signal, data,"
            " workflow_run_id, step_attempt_id) VALUES ('default', 'theirs', 'go', $1, $2, $3)"
            " ON CONFLICT (namespace_id, step_attempt_id) DO NOTHING"
        )
        assert engine.conn.execute(
            delivery.encode(), ['{"by": "Ada"}', run_id, wait["id"]]
        ).rowcount
        wake = f"UPDATE {tables}.workflow_runs SET available_at = now() WHERE id = $1"
        engine.conn.execute(wake.encode(), [run_id])
        assert engine.finish(run_id)["output"] == {"data": GOOD}

    def test_without_a_type_every_signal_fits(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.wait_for_signal("go", on_invalid="skip"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.send_signal("go", [BAD])
        assert engine.finish(run_id)["output"] == {"data": [BAD]}

    def test_another_word_is_refused(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        def body(step: Any) -> Any:
            yield step.wait_for_signal("go", on_invalid="drop")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "failed"
        message = engine.row(run_id)["error"]["message"]
        assert message == "Signal 'go': on_invalid must be \"fail\" or \"skip\", not 'drop'"


def test_only_the_owner_of_a_run_skips_and_a_delivery_is_skipped_once(
    engine: Engine, conn: psycopg.Connection
) -> None:
    engine.workflow(lambda step: step.wait_for_signal("go", type=int, on_invalid="skip"))
    run_id = engine.start()
    engine.execute_once(run_id)
    engine.ow.send_signal("go", "bad")
    engine.ow.send_signal("go", 7)
    [wait] = engine.steps(run_id)
    store = RelatedStore(engine.schema, "default")
    found = store.look(conn, wait["id"])
    assert found is not None
    arguments = (wait["id"], "go", (found.id, "why"))
    engine.claim(run_id, "me")
    assert store.skip(conn, run_id, "other", *arguments) is None
    assert store.look(conn, wait["id"]) == found
    for _ in range(2):  # the second time as after a lost answer
        answer = store.skip(conn, run_id, "me", *arguments)
        assert answer is not None
        assert answer.next is not None
        assert answer.next.data == 7
    assert skipped(engine, run_id) == ["bad"]


def test_signals_of_an_unknown_run_are_not_listed(engine: Engine) -> None:
    with pytest.raises(RunNotFound):
        engine.ow.list_skipped_signals("unknown")
