"""Listing runs and their steps, page by page, and counting runs, sync and async."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper import (
    OpenWorkflow,
    Page,
    PostMortem,
    Run,
    RunCounts,
    RunNotFound,
    RunStatus,
    Step,
    StepAttempt,
    StepKind,
    StepStatus,
)
from owsuper.client import models
from owsuper.db.crashes import CrashedRun, CrashQueries
from owsuper.errors import ConfigurationError, MigrationError
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import ME, Tables, from_now, perform

VECTORS = Path(__file__).parents[1] / "vectors"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ids(page: Page[Any]) -> list[str]:
    return [item.id for item in page.items]


# --- runs ------------------------------------------------------------------------------------


@sync_and_async
def test_runs_are_listed_newest_first(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    for name, seconds in (("b", 2), ("a", 1), ("c", 3)):
        tables.run(id=name, created_at=at(seconds))
    tables.run(id="elsewhere", namespace_id="other")
    page = call(ow, "list_runs")
    assert ids(page) == ["c", "b", "a"]
    assert page.next_cursor is page.previous_cursor is None


@sync_and_async
def test_runs_of_one_moment_are_listed_by_descending_id(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    for name in ("b", "a", "c"):
        tables.run(id=name, created_at=NOON)
    assert ids(call(ow, "list_runs")) == ["c", "b", "a"]


@sync_and_async
def test_a_listed_run_equals_its_details(ow: OpenWorkflow, call: Call) -> None:
    handle = call(ow, "run_workflow", "w", {"n": [1]}, version="2", idempotency_key="k")
    [run] = call(ow, "list_runs").items
    assert isinstance(run, Run)
    assert run == call(handle, "details")
    assert (run.input, run.idempotency_key, run.created_at.tzinfo) == ({"n": [1]}, "k", UTC)


@sync_and_async
def test_a_page_without_runs_is_empty(ow: OpenWorkflow, call: Call) -> None:
    assert call(ow, "list_runs") == Page((), None, None)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("filters", [{}, {"status": "completed"}, {"workflow": "w"}], ids=str)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
@sync_and_async
def test_cursors_lead_through_all_runs_and_back(
    ow: OpenWorkflow, tables: Tables, call: Call, limit: int, filters: dict[str, str]
) -> None:
    moments = {"a": 1, "b": 2, "d": 2, "c": 2, "e": 2, "g": 3, "f": 4}  # some are twins
    for name, seconds in moments.items():
        tables.run(id=name, created_at=at(seconds), status="completed")
    everything = ["f", "g", "e", "d", "c", "b", "a"]
    pages = [call(ow, "list_runs", limit=limit, **filters)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(call(ow, "list_runs", limit=limit, after=cursor, **filters))
    assert [name for page in pages for name in ids(page)] == everything
    assert {len(page.items) for page in pages[:-1]} <= {limit}
    assert pages[0].previous_cursor is None
    for newer, older in pairwise(pages):
        back = call(ow, "list_runs", limit=limit, before=older.previous_cursor, **filters)
        assert ids(back) == ids(newer)
        assert back.next_cursor == newer.next_cursor


@sync_and_async
def test_new_runs_do_not_change_the_following_pages(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    for name, seconds in (("a", 1), ("b", 2), ("c", 3)):
        tables.run(id=name, created_at=at(seconds))
    first = call(ow, "list_runs", limit=2)
    tables.run(id="d", created_at=at(4))
    second = call(ow, "list_runs", limit=2, after=first.next_cursor)
    assert (ids(first), ids(second)) == (["c", "b"], ["a"])
    assert ids(call(ow, "list_runs", limit=9, before=first.next_cursor)) == ["d", "c"]


@sync_and_async
def test_the_page_after_the_last_run_and_before_the_first_is_empty(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    tables.run(id="a", created_at=at(1))
    tables.run(id="b", created_at=at(2))
    first = call(ow, "list_runs", limit=1)
    last = call(ow, "list_runs", limit=1, after=first.next_cursor)
    assert call(ow, "list_runs", after=last.previous_cursor) == Page((), None, None)
    assert call(ow, "list_runs", before=first.next_cursor) == Page((), None, None)


@sync_and_async
def test_a_status_selects_by_the_stored_status(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    for status in RunStatus:
        tables.run(id=status, status=status)
    for status in RunStatus:
        assert ids(call(ow, "list_runs", status=status)) == [status]
        assert ids(call(ow, "list_runs", status=status.value)) == [status]
    [old] = call(ow, "list_runs", status="succeeded").items
    assert old.status is RunStatus.COMPLETED


@sync_and_async
def test_a_workflow_selects_all_its_versions(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    @ow.workflow("ours")
    def ours(step: Step) -> None: ...

    for number, status in enumerate(RunStatus):
        tables.run(id=f"{number}", workflow_name="ours", status=status, created_at=at(number))
    tables.run(id="versioned", workflow_name="ours", version="2", created_at=at(-1))
    tables.run(id="theirs", workflow_name="theirs")
    everything = ["6", "5", "4", "3", "2", "1", "0", "versioned"]
    assert ids(call(ow, "list_runs", workflow="ours")) == everything
    assert ids(call(ow, "list_runs", workflow=ours)) == everything
    assert ids(call(ow, "list_runs", workflow="ours", limit=3)) == everything[:3]


@sync_and_async
def test_status_and_workflow_are_combined_with_and(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    for name in ("a", "b"):
        for status in ("failed", "completed"):
            tables.run(id=f"{name} {status}", workflow_name=name, status=status)
    assert ids(call(ow, "list_runs", workflow="a", status="failed")) == ["a failed"]
    assert ids(call(ow, "list_runs", workflow="a", status="canceled")) == []


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"status": "done"}, "^status: must be one of pending, running, completed, failed, cancel"),
        ({"status": ["failed"]}, r"^status: must be one of .*, not \['failed'\]"),
        ({"workflow": ""}, "^Invalid workflow name ''"),
        ({"workflow": 7}, "^Invalid workflow name 7"),
        ({"limit": 0}, "^limit: must be a whole number from 1 to 1000, not 0"),
        ({"after": "x"}, "^after: 'x' is no cursor: it is not Base64"),
        ({"before": "x"}, "^before: 'x' is no cursor: it is not Base64"),
        ({"before": "x", "after": "x"}, "^Cannot specify both 'after' and 'before' cursors$"),
    ],
)
@sync_and_async
def test_unusable_arguments_are_refused_without_asking_the_database(
    call: Call, asked: dict[str, Any], complaint: str
) -> None:
    unreachable = OpenWorkflow("postgresql://127.0.0.1:1/none")
    with pytest.raises(ConfigurationError, match=complaint):
        call(unreachable, "list_runs", **asked)


# --- crashes ---------------------------------------------------------------------------------


def crash(tables: Tables, run: str, *, most: int = 1, **evidence: Any) -> None:
    """The process of a run dies. With ``most``, this is how many crashes the run may have."""
    worker = tables.fetch(run)["worker_id"]
    dead = CrashedRun(run, worker, {"cause": "signal SIGKILL", **evidence})
    queries = CrashQueries(tables.schema, "default")
    perform(tables.conn, queries.record_crash(str(uuid4()), [dead], max_crashes=most))


@sync_and_async
def test_crashed_selects_runs_that_were_given_up_until_a_retry(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    for name in ("b", "a", "c", "d"):
        crash(tables, tables.run(id=name, created_at=at(ord(name))))
    crash(tables, tables.run(id="survived"), most=2)
    tables.run(id="failed", status="failed", worker_id=None, available_at=None)
    first = call(ow, "list_runs", crashed=True, limit=2)
    assert ids(first) == ["d", "c"]
    rest = call(ow, "list_runs", crashed=True, limit=2, after=first.next_cursor)
    assert ids(rest) == ["b", "a"]
    assert rest.next_cursor is None
    assert call(ow, "list_runs", crashed=True, limit=2, before=rest.previous_cursor) == first
    call(ow.get_run("c"), "retry")
    assert ids(call(ow, "list_runs", crashed=True)) == ["d", "b", "a"]


@sync_and_async
def test_crashed_goes_with_all_other_filters(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    parent = tables.run(id="parent")
    crash(tables, tables.child(parent, id="child", idempotency_key="k", workflow_name="v"))
    tables.child(parent, id="fine", workflow_name="v")
    crash(tables, tables.run(id="other", created_at=NOON))

    def found(**filters: Any) -> list[str]:
        return ids(call(ow, "list_runs", crashed=True, **filters))

    assert found(parent="parent") == found(key="k") == found(workflow="v") == ["child"]
    assert found(since="1h") == ["child"]
    assert found(until=at(1)) == ["other"]
    assert found(status="failed") == ["child", "other"]
    assert found(status="completed") == []


@sync_and_async
def test_a_post_mortem_has_all_that_is_known(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = tables.run()
    evidence = {
        "signal": "SIGKILL",
        "exitCode": None,
        "step": "resize",
        "maxRssKb": 2_000,
        "pid": 4711,
        "host": "web-1",
        "sharedWith": 1,
        "outOfMemory": True,
        "cpuSeconds": 1.5,
        "runSeconds": 3,
        "stepSeconds": 2.5,
        "processSeconds": 60.25,
        "stderr": "ouch\n",
        "trace": "Fatal",
    }
    crash(tables, run, **evidence)
    [row] = tables.rows("owsuper_post_mortems")
    assert call(ow, "list_post_mortems", run) == [
        PostMortem(
            run_id=run,
            died_at=row["died_at"],
            cause="signal SIGKILL",
            signal="SIGKILL",
            exit_code=None,
            out_of_memory=True,
            counted=True,
            shared_with=1,
            step="resize",
            step_seconds=2.5,
            run_seconds=3,
            process_seconds=60.25,
            cpu_seconds=1.5,
            peak_memory_bytes=2_048_000,
            host="web-1",
            pid=4711,
            stderr="ouch\n",
            trace="Fatal",
        )
    ]


@sync_and_async
def test_post_mortems_come_in_the_order_of_time_and_nothing_is_guessed(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = tables.run()
    assert call(ow, "list_post_mortems", run) == []
    for number in (1, 2):
        tables.update("workflow_runs", run, worker_id=ME)
        crash(tables, run, most=9, step=f"step {number}")
    first, second = call(ow, "list_post_mortems", run)
    assert (first.step, second.step) == ("step 1", "step 2")
    assert first.died_at < second.died_at
    assert (first.out_of_memory, first.pid, first.stderr, first.cpu_seconds) == (None,) * 4
    with pytest.raises(RunNotFound):
        call(ow, "list_post_mortems", "unknown")


# --- step attempts ---------------------------------------------------------------------------


@sync_and_async
def test_the_attempts_of_a_run_are_listed_oldest_first(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run, other = tables.run(), tables.run()
    for name, seconds in (("b", 2), ("d", 3), ("c", 3), ("a", 1)):
        tables.step(run, id=name, created_at=at(seconds))
    tables.step(other, id="other")
    page = call(ow, "list_step_attempts", run)
    assert ids(page) == ["a", "b", "c", "d"]
    assert page.next_cursor is page.previous_cursor is None


@sync_and_async
def test_an_attempt_has_all_that_is_stored(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = tables.run()
    child = tables.child(run, id="child")
    [wait] = tables.steps_of(run)
    failed = tables.step(
        run,
        step_name="charge:1",
        status="failed",
        error={"name": "CardError", "message": "declined"},
        started_at=at(1),
        finished_at=at(2),
        created_at=at(1),
    )
    tables.step(run, status="succeeded", output={"n": 1}, created_at=at(3))
    first, second, third = call(ow, "list_step_attempts", run).items
    assert isinstance(first, StepAttempt)
    assert (first.id, first.run_id, first.step_name) == (failed, run, "charge:1")
    assert (first.kind, first.status) == (StepKind.FUNCTION, StepStatus.FAILED)
    assert first.error is not None
    assert (first.error.name, first.error.message) == ("CardError", "declined")
    assert (first.started_at, first.finished_at, first.created_at) == (at(1), at(2), at(1))
    assert (second.status, second.output) == (StepStatus.COMPLETED, {"n": 1})  # as of today
    assert (third.id, third.kind, third.status) == (wait["id"], "workflow", "running")
    assert (third.child_run_id, third.context) == (child, {"kind": "workflow"})
    assert third.output is third.error is third.finished_at is None


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@sync_and_async
def test_cursors_lead_through_all_attempts_and_back(
    ow: OpenWorkflow, tables: Tables, call: Call, limit: int
) -> None:
    run = tables.run()
    for name, seconds in {"a": 1, "c": 2, "b": 2, "d": 2, "e": 3}.items():
        tables.step(run, id=name, created_at=at(seconds))
    pages = [call(ow, "list_step_attempts", run, limit=limit)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(call(ow, "list_step_attempts", run, limit=limit, after=cursor))
    assert [name for page in pages for name in ids(page)] == ["a", "b", "c", "d", "e"]
    for earlier, later in pairwise(pages):
        back = call(ow, "list_step_attempts", run, limit=limit, before=later.previous_cursor)
        assert ids(back) == ids(earlier)
        assert back.next_cursor == earlier.next_cursor


@sync_and_async
def test_a_run_without_steps_has_an_empty_page_and_an_unknown_run_raises(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    assert call(ow, "list_step_attempts", tables.run()) == Page((), None, None)
    for unknown in ("unknown", tables.run(namespace_id="other")):
        with pytest.raises(RunNotFound, match=f"^Workflow run {unknown} does not exist$") as info:
            call(ow, "list_step_attempts", unknown)
        assert info.value.run_id == unknown


@sync_and_async
def test_unusable_arguments_about_a_run_are_refused_without_asking_the_database(call: Call) -> None:
    unreachable = OpenWorkflow("postgresql://127.0.0.1:1/none")
    wrong: Any
    for wrong in (7, "a\0b", "\ud800"):
        with pytest.raises(ConfigurationError, match=r"^run_id: "):
            call(unreachable, "list_step_attempts", wrong)
        with pytest.raises(ConfigurationError, match=r"^run_id: "):
            unreachable.get_run(wrong)
    with pytest.raises(ConfigurationError, match=r"^limit: "):
        call(unreachable, "list_step_attempts", "a", limit=0)


# --- counts ----------------------------------------------------------------------------------


def counts_vectors() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((VECTORS / "counts.json").read_text())["cases"]
    return loaded


@pytest.mark.parametrize("case", counts_vectors(), ids=str)
def test_statuses_are_added_up_as_the_vectors_say(case: dict[str, Any]) -> None:
    rows = [(row["status"], int(row["count"])) for row in case["rows"]]
    assert models.counts_from_rows(rows) == RunCounts(**case["counts"])


@sync_and_async
def test_legacy_statuses_are_counted_under_their_names_of_today(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    for status in RunStatus:
        tables.run(status=status)
    tables.run(status="failed")
    tables.run(status="weird")
    tables.run(status="failed", namespace_id="other")
    expected = RunCounts(pending=1, running=2, completed=2, failed=2, canceled=1)
    assert call(ow, "count_runs") == expected


@sync_and_async
def test_counts_without_runs_are_zero(ow: OpenWorkflow, call: Call) -> None:
    expected = RunCounts(pending=0, running=0, completed=0, failed=0, canceled=0)
    assert call(ow, "count_runs") == expected


@sync_and_async
def test_missing_tables_are_an_error_that_says_how_to_make_them(
    database_url: str, call: Call
) -> None:
    ow = OpenWorkflow(database_url, schema="never_made")
    for method, args in (("list_runs", []), ("list_step_attempts", ["a"]), ("count_runs", [])):
        with pytest.raises(MigrationError, match="owsuper migrate --schema never_made"):
            call(ow, method, *args)
    ow.close()


def test_a_parked_run_counts_as_running(ow: OpenWorkflow, tables: Tables) -> None:
    tables.parked(available_at=from_now(60))
    [run] = ow.list_runs(status="running").items
    assert run.worker_id is None
    assert ow.count_runs().running == 1
