"""``--retain``: one worker of a namespace deletes old runs, beside its work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from owsuper.db.statement import Result, Statement
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import retention, sole_duty
from tests.client.conftest import eventually
from tests.retention.conftest import Ended
from tests.supervisor.worker import Begin


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Ended:
    return Ended(conn, schema)


def await_ids(tables: Ended, ids: set[str], *logs: object) -> None:
    deadline = time.monotonic() + 60
    while tables.ids() != ids:
        assert time.monotonic() < deadline, (tables.ids(), ids, logs)
        time.sleep(0.01)  # rows can only be polled


def test_a_worker_deletes_what_is_older_than_its_rules_say(begin: Begin, tables: Ended) -> None:
    kept = {
        tables.ended(29),
        tables.ended(31, status="failed"),
        tables.ended(31, workflow_name="important"),
        tables.pending(workflow_name="nobody"),
    }
    for _ in range(60):
        tables.ended(31)
    tables.ended(91, status="failed")
    tables.ended(8, workflow_name="record")
    worker = begin(
        *("--processes=1", "--retain", "30d", "--retain", "failed=90d"),
        *("--retain", "workflow:record=7d,workflow:important=forever"),
    )
    await_ids(tables, kept, worker.log)
    worker.log.wait_for("deleted runs that ended long ago: 62")
    run = worker.start("record", text="x")
    worker.await_outcome(run)
    assert worker.stop() == 0
    assert "ERROR" not in worker.log.text


@pytest.mark.slow
def test_copies_are_there_before_the_runs_are_gone(
    begin: Begin, tables: Ended, tmp_path: Path
) -> None:
    old = {tables.ended(31) for _ in range(70)}
    worker = begin("--processes=1", "--retain=30d", f"--archive={tmp_path / 'archive'}")
    await_ids(tables, set(), worker.log)
    [path] = (tmp_path / "archive").iterdir()
    assert {json.loads(line)["run"]["id"] for line in path.read_text().splitlines()} == old
    assert worker.stop() == 0


@pytest.mark.slow
def test_without_room_for_copies_nothing_is_deleted(
    begin: Begin, tables: Ended, tmp_path: Path
) -> None:
    today = datetime.now(UTC)
    for day in (today, today + timedelta(days=1)):
        (tmp_path / "archive" / f"runs-{day:%Y-%m-%d}.jsonl").mkdir(parents=True)
    old = {tables.ended(31)}
    worker = begin("--processes=1", "--retain=30d", f"--archive={tmp_path / 'archive'}")
    worker.log.wait_for("no run is deleted: the archive cannot be written")
    assert tables.ids() == old
    assert worker.stop() == 0


def many(tables: Ended, count: int) -> None:
    """Insert old runs, each with a step, a signal and a retry."""
    schema = tables.schema
    for statement in (
        "workflow_runs (namespace_id, id, workflow_name, status, config, attempts, created_at,"
        " finished_at, updated_at) SELECT 'default', 'old ' || n, 'old', 'completed', '{}', 1,"
        " now() - interval '50 d', now() - interval '40 d', now()",
        "step_attempts (namespace_id, id, workflow_run_id, step_name, kind, status, config,"
        " created_at, updated_at) SELECT 'default', 'wait ' || n, 'old ' || n, 's', 'signal-wait',"
        " 'completed', '{}', now(), now()",
        "workflow_signals (namespace_id, id, signal, workflow_run_id, step_attempt_id)"
        " SELECT 'default', n, 'go', 'old ' || n, 'wait ' || n",
        "owsuper_retries (namespace_id, workflow_run_id) SELECT 'default', 'old ' || n",
    ):
        table, rest = statement.split(" ", 1)
        insert = f'INSERT INTO "{schema}".{table} {rest} FROM generate_series(1, {count}) AS n'
        tables.conn.execute(insert.encode())


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_deletes_leaves_nothing_half_deleted(
    begin: Begin, tables: Ended, tmp_path: Path
) -> None:
    count = 4000
    many(tables, count)
    options = ("--processes=1", "--retain=30d", f"--archive={tmp_path / 'archive'}")
    worker = begin(*options)
    eventually(lambda: len(tables.ids()) < count)
    worker.program.kill()
    worker.program.wait()
    worker.await_no_descendants()
    eventually(lambda: not sessions(tables))
    left = tables.ids()
    assert left
    assert {row["workflow_run_id"] for row in tables.rows("step_attempts")} == left
    assert {row["workflow_run_id"] for row in tables.rows("workflow_signals")} == left
    assert {row["workflow_run_id"] for row in tables.rows("owsuper_retries")} == left
    copied = {json.loads(line)["run"]["id"] for line in archived(tmp_path)}
    assert len(left | copied) == count
    worker = begin(*options)
    await_ids(tables, set(), worker.log)
    assert worker.stop() == 0
    assert len({json.loads(line)["run"]["id"] for line in archived(tmp_path)}) == count


def archived(directory: Path) -> list[str]:
    """The whole lines of the archive."""
    texts = [path.read_text() for path in (directory / "archive").iterdir()]
    return [line for text in texts for line in text.splitlines(keepends=True) if "\n" in line]


def sessions(tables: Ended) -> bool:
    """Whether a worker is connected to delete runs of this schema."""
    query = (
        b"SELECT FROM pg_stat_activity WHERE application_name = 'owsuper retention'"
        b" AND (position($1 IN query) > 0 OR state <> 'idle')"
    )
    return bool(tables.conn.execute(query, (tables.schema,)).fetchall())


@pytest.mark.slow
def test_another_worker_takes_over(begin: Begin, tables: Ended) -> None:
    first = begin("--processes=1", "--retain=30d")
    eventually(lambda: sessions(tables))
    second = begin("--processes=1", "--retain=30d")
    assert first.stop() == 0
    tables.ended(31)
    await_ids(tables, set(), second.log)
    assert second.stop() == 0


class GivesUp:
    """A connection to a server that finds no old runs before the time limit."""

    up = pooled = True
    outages = 0
    sizes: ClassVar[list[int]] = []

    def __init__(self, *_: object, on_up: Callable[[], None] = lambda: None, **__: object) -> None:
        self.start = on_up

    def send(
        self, statement: Statement, params: Sequence[Any], on_result: Callable[[Result], None]
    ) -> None:
        answers = {"prune_rules": b"[]", "prune_workflows": b'["w"]'}
        if statement.name in answers:
            on_result(Result([(answers[statement.name],)]))
        else:
            self.sizes.append(params[2])
            on_result(Result([], sqlstate="57014"))

    def refused(self, _action: str, result: Result) -> bool:
        return result.sqlstate is not None

    def close(self) -> None: ...


def test_a_search_that_takes_too_long_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sole_duty, "KeptConnection", GivesUp)
    monkeypatch.setattr(sole_duty, "_FIRST", 0)
    monkeypatch.setattr(retention, "_PERIOD", 0)
    monkeypatch.setattr(GivesUp, "sizes", [])
    loop = Loop()
    session: Any = GivesUp()
    duty = retention.RetentionDuty(loop, Settings(retain=("30d",)), session)
    while len(GivesUp.sizes) < 20:
        loop.turn()
    duty.close()
    loop.close()
    assert min(GivesUp.sizes) <= 2


@pytest.mark.parametrize(
    ("rule", "message"), [("30", "'30' is no duration"), ("done=3d", "'done' is not the status")]
)
def test_a_rule_that_cannot_be_read_ends_the_worker_at_once(
    begin: Begin, rule: str, message: str
) -> None:
    worker = begin(f"--retain={rule}", ready=False)
    assert worker.program.wait() == 2
    assert f"--retain: {rule!r}: " in worker.log.text
    assert message in worker.log.text
