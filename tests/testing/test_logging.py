"""What code logs in a run: with the fields of the run, and once, although code is replayed."""

from __future__ import annotations

import asyncio
import copy
import io
import logging
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step
from owsuper.step import log_records
from owsuper.testing import crash_in, run_in_process

log = logging.getLogger("tests.shop")
FIELDS = ("run_id", "workflow", "version", "step", "attempt")


class Keeper(logging.Handler):
    """Keeps records, and their text."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Keeper]:
    before = logging.getLogRecordFactory()
    keeper = Keeper()
    log.addHandler(keeper)
    log.setLevel(logging.DEBUG)
    yield keeper
    log.removeHandler(keeper)
    logging.setLogRecordFactory(before)


@pytest.fixture
def ow() -> OpenWorkflow:
    return OpenWorkflow()


def fields(record: logging.LogRecord) -> dict[str, object]:
    record.getMessage()
    return {name: vars(record)[name] for name in FIELDS}


def note(text: str) -> str:
    log.info(text)
    return text


def test_a_record_has_the_fields_of_run_and_step(ow: OpenWorkflow, kept: Keeper) -> None:
    @ow.workflow(version="2")
    def order(step: Step) -> None:
        log.info("between")
        step.run("reserve", note, "within")

    run = run_in_process(order)
    between, within = map(fields, kept.records)
    assert between == {
        "run_id": run.id,
        "workflow": "order",
        "version": "2",
        "step": None,
        "attempt": None,
    }
    assert within == between | {"step": "reserve", "attempt": 1}


def test_a_record_of_an_async_workflow_has_them_too(ow: OpenWorkflow, kept: Keeper) -> None:
    async def reserve(number: int) -> None:
        await asyncio.sleep(0)
        log.info("%d", number)

    @ow.workflow
    async def order(step: AsyncStep) -> None:
        await asyncio.gather(*(step.run(f"s{n}", reserve, n) for n in range(3)))
        await step.run("thread", note, "3")

    run_in_process(order)
    steps = {record.getMessage(): fields(record)["step"] for record in kept.records}
    assert steps == {"0": "s0", "1": "s1", "2": "s2", "3": "thread"}


def test_the_number_of_the_attempt_grows(ow: OpenWorkflow, kept: Keeper) -> None:
    def fail() -> None:
        log.warning("failing")
        raise LookupError

    @ow.workflow
    def order(step: Step) -> None:
        try:
            step.run("find", fail, retry=RetryPolicy(maximum_attempts=2))
        except Exception:
            return

    run_in_process(order)
    assert [fields(record)["attempt"] for record in kept.records] == [1, 2]


def test_threads_that_know_no_run_make_plain_records(ow: OpenWorkflow, kept: Keeper) -> None:
    @ow.workflow
    def order(step: Step) -> None:
        thread = threading.Thread(target=lambda: log.info("elsewhere"))
        thread.start()
        thread.join()

    run_in_process(order)
    log.info("outside")
    assert [type(record) for record in kept.records] == [logging.LogRecord] * 2
    assert kept.messages == ["elsewhere", "outside"]


def test_user_code_may_have_fields_with_our_names(ow: OpenWorkflow, kept: Keeper) -> None:
    @ow.workflow
    def order(step: Step) -> None:
        log.info("mine", extra={"step": "my step", "version": 7, "isbn": "x"})

    run_in_process(order)
    [record] = kept.records
    assert fields(record)["step"] == "my step"
    assert fields(record)["version"] == 7
    assert fields(record)["workflow"] == "order"


def test_a_filter_sees_the_fields_and_a_format_may_name_them(
    ow: OpenWorkflow, kept: Keeper
) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(workflow)s/%(step)s %(message)s"))
    handler.addFilter(lambda record: record.step == "wanted")  # type: ignore[attr-defined]  # only in runs
    log.addHandler(handler)

    @ow.workflow
    def order(step: Step) -> None:
        step.run("unwanted", note, "no")
        step.run("wanted", note, "yes")

    try:
        run_in_process(order)
    finally:
        log.removeHandler(handler)
    assert stream.getvalue() == "order/wanted yes\n"


@pytest.mark.parametrize("how", [copy.copy, lambda record: pickle.loads(pickle.dumps(record))])
def test_a_copy_keeps_the_fields(ow: OpenWorkflow, kept: Keeper, how: Any) -> None:
    @ow.workflow
    def order(step: Step) -> None:
        log.info("hello %s", "there")

    run = run_in_process(order)
    again = how(kept.records[0])
    assert type(again) is logging.LogRecord
    assert (vars(again)["run_id"], again.getMessage()) == (run.id, "hello there")
    with pytest.raises(AttributeError, match="isbn"):
        _ = kept.records[0].isbn  # type: ignore[attr-defined]  # that is the test


def test_the_logger_of_a_step_object_is_named_as_the_workflow(
    ow: OpenWorkflow, kept: Keeper
) -> None:
    @ow.workflow("tests.shop")
    def order(step: Step) -> None:
        step.logger.info("hello")

    run_in_process(order)
    [record] = kept.records
    assert (record.name, fields(record)["workflow"]) == ("tests.shop", "tests.shop")


def test_code_that_is_replayed_logs_once(ow: OpenWorkflow, kept: Keeper) -> None:
    @ow.workflow
    def order(step: Step) -> None:
        log.info("begin")
        step.run("a", note, "in a")
        log.info("after a")
        step.sleep("nap", "1h")
        log.info("after the nap")
        step.run("b", note, "in b")
        step.sleep("nap", "1h")
        log.info("end")

    run_in_process(order)
    assert kept.messages == ["begin", "in a", "after a", "after the nap", "in b", "end"]


def test_async_code_that_is_replayed_logs_once(ow: OpenWorkflow, kept: Keeper) -> None:
    @ow.workflow
    async def order(step: AsyncStep) -> None:
        log.info("begin")
        await step.run("a", note, "in a")
        log.info("after a")
        await step.sleep("nap", "1h")
        log.info("end")

    run_in_process(order)
    assert kept.messages == ["begin", "in a", "after a", "end"]


def test_it_can_be_shown(ow: OpenWorkflow, kept: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    install = log_records.install
    monkeypatch.setattr(log_records, "install", lambda show_replayed: install(show_replayed=True))

    @ow.workflow
    def order(step: Step) -> None:
        log.info("begin")
        step.sleep("nap", "1h")
        log.info("end")

    run_in_process(order)
    assert kept.messages == ["begin", "begin", "end"]
    assert [getattr(record, "replayed", False) for record in kept.records] == [False, True, False]
    assert [record.levelno for record in kept.records] == [20, 20, 20]


def test_what_a_crash_kept_from_being_recorded_is_logged_again(
    ow: OpenWorkflow, kept: Keeper
) -> None:
    @ow.workflow
    def order(step: Step) -> None:
        log.info("begin")
        step.run("a", note, "in a")
        log.info("after a")
        step.run("b", note, "in b")
        log.info("end")

    run_in_process(order, faults=[crash_in("b")])
    assert kept.messages == ["begin", "in a", "after a", "after a", "in b", "end"]


def test_a_branch_that_is_ahead_of_the_others_logs(ow: OpenWorkflow, kept: Keeper) -> None:
    """The recorded steps of the slower branch are not called yet when the faster one goes on."""
    slow_may_begin = threading.Event()

    @ow.workflow
    def order(step: Step) -> None:
        again = bool(kept.records)
        slow_may_begin.clear()

        def fast() -> None:
            log.info("fast begins")
            step.sleep("short", "1h")
            log.info("fast is over")
            slow_may_begin.set()

        def slow() -> None:
            if again:
                assert slow_may_begin.wait(30)
            log.info("slow begins")
            step.sleep("long", "2h")
            log.info("slow is over")

        step.parallel(fast, slow)

    run_in_process(order)
    assert sorted(kept.messages[:2]) == ["fast begins", "slow begins"]
    assert kept.messages[2:] == ["fast is over", "slow is over"]


def test_what_owsuper_says_during_a_replay_is_not_left_out(
    ow: OpenWorkflow, caplog: pytest.LogCaptureFixture
) -> None:
    @ow.workflow
    def order(step: Step) -> None:
        logging.getLogger("owsuper.child").warning("said")
        step.sleep("nap", "1h")

    run_in_process(order)
    assert [record.message for record in caplog.records if record.name == "owsuper.child"] == [
        "said",
        "said",
    ]


def test_a_factory_of_the_application_stays() -> None:
    before = logging.getLogRecordFactory()

    class Mine(logging.LogRecord):
        pass

    logging.setLogRecordFactory(Mine)
    try:
        log_records.install(show_replayed=False)
        assert logging.getLogRecordFactory() is Mine
    finally:
        logging.setLogRecordFactory(before)
