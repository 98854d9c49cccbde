"""Signals, sync and async, between runs and from outside."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from owsuper import Signal, StepFailed
from owsuper.db import connect
from owsuper.db.clients import ClientQueries
from owsuper.errors import ConfigurationError, NotSerializable
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, Body, sync_and_async


@dataclass
class Approval:
    by: str


def deliveries(engine: Engine) -> list[tuple[Any, ...]]:
    return engine.conn.execute(
        f'SELECT signal, data, sender_idempotency_key, workflow_run_id FROM "{engine.schema}"'
        ".workflow_signals ORDER BY created_at"
    ).fetchall()


def kept(engine: Engine) -> int:
    query = f'SELECT count(*) FROM "{engine.schema}".owsuper_signals'
    [(count,)] = engine.conn.execute(query).fetchall()
    return int(count)


def send_within(sender: psycopg.Connection, engine: Engine, data: bytes) -> list[str]:
    """Send ``go``, to be kept if need be, in the transaction that ``sender`` is in."""
    operation = ClientQueries(engine.schema, "default").send_signal("go", data, None, keep=True)
    rows = [sender.execute(call.query, params).fetchall() for call, params in operation.calls]
    return [run for run, *_ in operation.parse(rows)]


def wait_until_blocked(conn: psycopg.Connection, ended: Future[Any], *, so: bool = True) -> None:
    """Wait until somebody waits for a lock that ``conn`` holds (until nobody does, if not ``so``),
    or what should has ended.
    """
    blocked = (
        "SELECT count(*) > 0 FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) AS waiting"
        " WHERE $1::int = ANY (pg_blocking_pids(pid))"
    )
    while conn.execute(blocked, [conn.info.backend_pid]).fetchone() != (so,) and not ended.done():
        time.sleep(0.005)


def waiting(timeout: Any = None, **more: Any) -> Body:
    def body(step: Any) -> Any:
        return (yield step.wait_for_signal("go", timeout=timeout, **more))

    return body


@sync_and_async
class TestWaiting:
    def test_the_data_that_was_sent_is_what_the_wait_returns(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(waiting()))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        assert engine.ow.send_signal("go", {"a": [1]}) == [run_id]
        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == {"data": {"a": [1]}}
        [step] = engine.steps(run_id)
        assert (step["kind"], step["output"]) == ("signal-wait", {"data": {"a": [1]}})
        assert step["context"]["signal"] == "go"
        assert deliveries(engine) == [("go", {"a": [1]}, None, run_id)]

    def test_a_signal_without_data_is_a_signal_and_none_in_time_is_none(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(waiting("1h")))
        late = engine.start()
        assert engine.finish(late)["output"] is None
        assert engine.steps(late)[0]["output"] is None
        sent = engine.start()
        engine.execute_once(sent)
        engine.ow.send_signal("go")
        assert engine.finish(sent)["output"] == {"data": None}
        assert engine.steps(sent)[0]["output"] == {"data": None}

    def test_a_signal_wins_over_a_timeout_that_has_passed(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(waiting("1h")))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.pass_time(run_id)
        engine.ow.send_signal("go", 1)
        assert engine.finish(run_id)["output"] == {"data": 1}

    def test_a_run_that_parks_after_its_signal_has_come_is_due_at_once(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        """It was sent after the history was read, while the run had an owner to wake it."""
        executions = []

        def body(step: Any) -> Any:
            executions.append(1)
            if len(executions) == 2:
                engine.ow.send_signal("go", 1)
            return (yield step.wait_for_signal("go"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE id = $1',
            [run_id],
        )
        assert engine.execute_once(run_id).outcome == "parked"
        row = engine.row(run_id)
        assert row["available_at"] <= row["updated_at"]
        assert engine.finish(run_id)["output"] == {"data": 1}

    def test_a_signal_that_comes_while_the_wait_is_being_given_up_is_not_lost(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        """It was sent after the history was read, to a wait whose time was over."""
        executions = []

        def body(step: Any) -> Any:
            executions.append(1)
            if len(executions) == 2:
                assert engine.ow.send_signal("go", 1, buffer=True) == [run_id]
            return (yield step.wait_for_signal("go", timeout="1h"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert engine.finish(run_id)["output"] == {"data": 1}
        assert engine.steps(run_id)[0]["output"] == {"data": 1}
        assert kept(engine) == 0

    @pytest.mark.parametrize("timeout", [0, 0.001, 0.004])
    def test_what_was_kept_is_taken_however_short_the_wait_is_beside_other_steps(
        self, engine: Engine, as_workflow: AsWorkflow, timeout: float
    ) -> None:
        def body(step: Any) -> Any:
            busy = step.submit("busy", time.sleep, 0.05)
            signal = yield step.wait_for_signal("go", timeout=timeout)
            yield busy
            return signal

        engine.workflow(as_workflow(body))
        for n in range(5):
            engine.ow.send_signal("go", n, buffer=True)
            assert engine.finish(engine.start())["output"] == {"data": n}

    def test_a_run_that_parks_while_its_signal_is_being_sent_is_due_at_once(
        self, engine: Engine, as_workflow: AsWorkflow, database_url: str
    ) -> None:
        engine.workflow(as_workflow(waiting("1h")))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE id = $1',
            [run_id],
        )
        sender = connect.connect(database_url, application_name="owsuper test")
        with closing(sender), ThreadPoolExecutor(1) as pool:
            claimed = engine.claim(run_id)
            with sender.transaction():
                assert send_within(sender, engine, b"7") == [run_id]
                ended = pool.submit(engine.execute_once, run_id, claimed)
                wait_until_blocked(sender, ended)
            assert ended.result().outcome == "parked"
        row = engine.row(run_id)
        assert row["available_at"] <= row["updated_at"]
        assert engine.finish(run_id)["output"] == {"data": 7}

    def test_data_is_given_as_the_type_that_was_asked_for(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        seen = []

        def body(step: Any) -> Any:
            seen.append((yield step.wait_for_signal("go", type=Approval)))
            yield step.sleep("pause", "1h")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.send_signal("go", Approval("me"))
        engine.finish(run_id)
        assert seen == [Signal(Approval("me"))] * 2

    def test_data_of_another_type_fails_the_step_and_names_the_field(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        seen = []

        def body(step: Any) -> Any:
            for _ in range(2):
                try:
                    yield step.wait_for_signal("go", type=Approval, name="approval")
                except StepFailed as failure:
                    seen.append((failure.step, str(failure)))
            return "went on"

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        for _ in range(2):
            engine.execute_once(run_id)
            engine.ow.send_signal("go", {"by": 1})
        assert engine.finish(run_id)["output"] == "went on"
        assert seen[-1][0] == "approval:1"
        assert seen[-1][1].startswith("Signal schema validation failed: ")
        assert "by" in seen[-1][1]

    def test_one_sending_reaches_all_who_wait_each_once(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(waiting()))
        runs = [engine.start() for _ in range(3)]
        for run_id in runs:
            engine.execute_once(run_id)
        assert sorted(engine.ow.send_signal("go", 1)) == sorted(runs)
        assert engine.ow.send_signal("go", 2) == []
        assert [engine.finish(run_id)["output"] for run_id in runs] == [{"data": 1}] * 3

    def test_waits_of_one_run_side_by_side_are_both_reached(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def child(step: Any) -> Any:
            return (yield step.wait_for_signal("go"))

        def body(step: Any) -> Any:
            futures = [step.submit_workflow("child") for _ in range(2)]
            return [(yield futures[0]), (yield futures[1])]

        engine.workflow(as_workflow(body))
        engine.ow.workflow("child")(as_workflow(child))
        run_id = engine.start()
        engine.execute_once(run_id)
        children = [row["child_workflow_run_id"] for row in engine.steps(run_id)]
        for each in children:
            engine.execute_once(each)
        engine.ow.send_signal("go", "both")
        for each in children:
            engine.execute_once(each)
        assert engine.finish(run_id)["output"] == [{"data": "both"}] * 2

    def test_a_run_that_has_ended_is_not_reached(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        engine.workflow(as_workflow(waiting()))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.get_run(run_id).cancel()
        assert engine.ow.send_signal("go", 1) == []
        assert deliveries(engine) == []

    def test_a_second_wait_for_what_a_step_waits_for_that_the_code_has_left_is_an_error(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        executions = []

        def body(step: Any) -> Any:
            executions.append(1)
            name = "first" if len(executions) == 1 else "second"
            yield step.wait_for_signal("go", name=name)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE id = $1',
            [run_id],
        )
        assert engine.execute_once(run_id).outcome == "failed"
        assert engine.row(run_id)["error"]["message"] == (
            'Signal "go" is already being waited on by step "first"'
        )


@sync_and_async
class TestSending:
    def test_a_step_sends_once_and_remembers_whom_it_reached(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def sender(step: Any) -> Any:
            reached = yield step.send_signal("go", {"x": 1})
            yield step.sleep("pause", "1h")
            return reached

        engine.workflow(as_workflow(waiting()))
        engine.ow.workflow("sender")(as_workflow(sender))
        run_id = engine.start()
        engine.execute_once(run_id)
        by = engine.start(workflow="sender")
        assert engine.finish(by)["output"] == [run_id]
        [send, _] = engine.steps(by)
        assert (send["kind"], send["step_name"]) == ("signal-send", "go")
        assert send["output"] == {"workflowRunIds": [run_id]}
        assert deliveries(engine) == [("go", {"x": 1}, f"__signal:{by}:go", run_id)]
        assert engine.finish(run_id)["output"] == {"data": {"x": 1}}

    def test_a_sending_that_was_under_way_when_its_process_died_is_taken_up_again(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        """As it is left when the signal was sent and the result of the step was not stored."""

        def sender(step: Any) -> Any:
            return (yield step.send_signal("go", 1))

        engine.workflow(as_workflow(waiting()))
        engine.ow.workflow("sender")(as_workflow(sender))
        run_id = engine.start()
        engine.execute_once(run_id)
        by = engine.start(workflow="sender")
        engine.conn.execute(
            f'INSERT INTO "{engine.schema}".step_attempts (namespace_id, id, workflow_run_id,'
            " step_name, kind, status, config, started_at, created_at, updated_at)"
            " VALUES ('default', 'begun', $1, 'go', 'signal-send', 'running', '{}', now(), now(),"
            " now())",
            [by],
        )
        engine.ow.send_signal("go", 1, idempotency_key=f"__signal:{by}:go")
        claimed = engine.claim(by)
        engine.execute_once(by, replace(claimed, first=False))
        assert engine.row(by)["output"] == [run_id]
        assert engine.statuses(by) == [("go", "completed")]
        assert len(deliveries(engine)) == 1


class TestFromOutside:
    def test_a_key_makes_it_one_sending_however_often_it_is_repeated(self, engine: Engine) -> None:
        engine.workflow(lambda step: step.wait_for_signal("go"))
        first, second = engine.start(), engine.start()
        engine.execute_once(first)
        assert engine.ow.send_signal("go", 1, idempotency_key="k") == [first]
        engine.execute_once(second)
        assert engine.ow.send_signal("go", 2, idempotency_key="k") == [first]
        assert len(deliveries(engine)) == 1

    def test_of_many_who_send_with_one_key_at_once_all_are_told_the_same(
        self, engine: Engine
    ) -> None:
        engine.workflow(lambda step: step.wait_for_signal("go"))
        runs = [engine.start() for _ in range(10)]
        for run_id in runs:
            engine.execute_once(run_id)
        with ThreadPoolExecutor(6) as pool:
            sent = [
                pool.submit(engine.ow.send_signal, "go", n, idempotency_key="k") for n in range(6)
            ]
            answers = [sorted(each.result()) for each in sent]
        assert answers == [sorted(runs)] * 6
        assert len(deliveries(engine)) == 10

    def test_a_signal_that_nobody_waits_for_is_dropped(self, engine: Engine) -> None:
        engine.workflow(lambda step: step.wait_for_signal("go", timeout="1h"))
        assert engine.ow.send_signal("go", 1) == []
        assert engine.finish(engine.start())["output"] is None

    def test_one_that_is_to_be_kept_waits_for_the_first_who_comes(self, engine: Engine) -> None:
        engine.workflow(lambda step: step.wait_for_signal("go", timeout="1h"))
        for number in range(3):
            assert engine.ow.send_signal("go", number, buffer=True) == []
        assert kept(engine) == 3
        runs = [engine.start() for _ in range(3)]
        for run_id in runs:
            engine.execute_once(run_id)
            due = engine.row(run_id)
            assert due["available_at"] <= due["updated_at"]
        outputs = [engine.finish(run_id)["output"] for run_id in runs]
        assert outputs == [{"data": 0}, {"data": 1}, {"data": 2}]
        assert kept(engine) == 0

    def test_one_that_is_to_be_kept_goes_to_those_who_wait_if_there_are_any(
        self, engine: Engine
    ) -> None:
        engine.workflow(lambda step: step.wait_for_signal("go"))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert engine.ow.send_signal("go", 1, buffer=True) == [run_id]
        assert engine.ow.send_signal("go", 2, buffer=True) == []
        assert kept(engine) == 1
        assert engine.finish(run_id)["output"] == {"data": 1}

    def test_a_wait_of_no_time_takes_what_was_kept(self, engine: Engine) -> None:
        engine.workflow(
            lambda step: [step.wait_for_signal("go", timeout=0, type=int) for _ in range(3)]
        )
        for number in (7, 8):
            engine.ow.send_signal("go", number, buffer=True)
        assert engine.finish(engine.start())["output"] == [{"data": 7}, {"data": 8}, None]

    def test_what_is_kept_with_a_key_is_kept_once(self, engine: Engine) -> None:
        for _ in range(3):
            assert engine.ow.send_signal("go", 1, buffer=True, idempotency_key="k") == []
        assert kept(engine) == 1
        engine.workflow(lambda step: step.wait_for_signal("go"))
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == {"data": 1}
        assert engine.ow.send_signal("go", 1, buffer=True, idempotency_key="k") == [run_id]
        assert kept(engine) == 0

    def test_whoever_begins_to_wait_while_one_is_being_kept_waits_for_that(
        self, engine: Engine, database_url: str
    ) -> None:
        engine.workflow(lambda step: step.wait_for_signal("go", timeout="1h"))
        run_id = engine.start()
        sender = connect.connect(database_url, application_name="owsuper test")
        with closing(sender), ThreadPoolExecutor(1) as pool:
            with sender.transaction():
                assert send_within(sender, engine, b"7") == []
                ended = pool.submit(engine.execute_once, run_id)
                wait_until_blocked(sender, ended)
            assert ended.result().outcome == "parked"
        assert kept(engine) == 0
        assert engine.finish(run_id)["output"] == {"data": 7}

    def test_a_lock_that_is_held_for_long_fails_neither_this_wait_nor_those_that_follow(
        self, engine: Engine, database_url: str
    ) -> None:
        """The write that begins the wait is rolled back, with all that its session had prepared."""
        engine.workflow(lambda step: step.wait_for_signal(step.run_id))
        engine.execute_once(engine.start())  # its session prepares the statements of a wait
        holder = connect.connect(database_url, application_name="owsuper test")
        with closing(holder), ThreadPoolExecutor(1) as pool:
            first = engine.start()
            with holder.transaction():
                hold = "pg_advisory_xact_lock(hashtextextended('owsuper:signal:default:' || $1, 0))"
                holder.execute(f"SELECT {hold}", [first])
                ended = pool.submit(engine.execute_once, first)
                wait_until_blocked(holder, ended)
                wait_until_blocked(holder, ended, so=False)  # it has given up, to try again
            assert ended.result().outcome == "parked"
        for _ in range(3):
            later = engine.start()
            assert engine.execute_once(later).outcome == "parked"
            assert engine.ow.send_signal(later, 1) == [later]

    @pytest.mark.parametrize("name", ["", "a\x00b", 5, "x" * 501])
    def test_a_name_that_cannot_be_one_is_refused(self, engine: Engine, name: Any) -> None:
        with pytest.raises(ConfigurationError, match="Invalid signal name"):
            engine.ow.send_signal(name)

    def test_data_that_is_not_json_is_refused(self, engine: Engine) -> None:
        with pytest.raises(NotSerializable, match="data of signal 'go'"):
            engine.ow.send_signal("go", object())


@sync_and_async
def test_a_run_sleeps_until_a_time_of_day(engine: Engine, as_workflow: AsWorkflow) -> None:
    when = datetime.now(UTC) + timedelta(hours=3)

    def body(step: Any) -> Any:
        yield step.sleep_until("morning", when)

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "parked"
    row = engine.row(run_id)
    assert timedelta(0) <= row["available_at"] - when < timedelta(milliseconds=1)


@sync_and_async
def test_a_run_may_sleep_until_the_end_of_time(engine: Engine, as_workflow: AsWorkflow) -> None:
    def body(step: Any) -> Any:
        yield step.sleep_until("for good", datetime.max.replace(tzinfo=UTC))

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "parked"
    assert engine.row(run_id)["available_at"].year == 9999


@sync_and_async
def test_a_time_beyond_the_end_of_time_is_an_error(engine: Engine, as_workflow: AsWorkflow) -> None:
    beyond = datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))

    def body(step: Any) -> Any:
        yield step.sleep_until("morning", beyond)

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "failed"
    message = engine.row(run_id)["error"]["message"]
    assert message.startswith("Step 'morning': when: 9999-12-31")
    assert "outside the years 1 to 9999" in message


@sync_and_async
@pytest.mark.parametrize("when", ["5m", datetime(2030, 1, 1), 7])
def test_a_time_to_sleep_until_that_is_none_is_an_error(
    engine: Engine, as_workflow: AsWorkflow, when: Any
) -> None:
    def body(step: Any) -> Any:
        yield step.sleep_until("morning", when)

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "failed"
    assert "aware datetime" in engine.row(run_id)["error"]["message"]
