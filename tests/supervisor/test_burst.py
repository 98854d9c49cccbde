"""``--burst``: the worker serves until no run is due, and then exits with code 0."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import psycopg
import pytest

from owsuper.db.clients import ClientQueries, RunRow
from owsuper.db.new_runs import NewRun
from owsuper.supervisor.burst import Burst
from tests.supervisor.worker import FLOWS, Begin

TREE = """
@ow.workflow
def leaf(step, input: dict):
    step.run("leaf", note, "leaf")

@ow.workflow
def trunk(step, input: dict):
    for number in range(3):
        step.run_workflow(leaf, {}, name=f"leaf {number}")
    step.run("trunk", note, "trunk")

@ow.workflow
def nap(step, input: dict):
    step.run("before", note, "before the nap")
    step.sleep("nap", "1h")
    step.run("later", note, "after the nap")
"""

STOP_SLOWLY = """
@ow.on_child_stop
def wait():
    note("stopping")
    while not Path("stopped").exists():
        time.sleep(0.01)
"""

Start = Callable[..., str]


@pytest.fixture
def start(conn: psycopg.Connection, schema: str) -> Start:
    """Start a run, without a worker."""

    def start(workflow: str, **input: Any) -> str:
        new = NewRun(workflow_name=workflow, input_json=json.dumps(input).encode())
        return ClientQueries(schema, "default").start(new).run(conn)

    return start


@pytest.fixture
def change(conn: psycopg.Connection, schema: str) -> Callable[[str, str], None]:
    """Change columns of a run."""

    def change(run: str, columns: str) -> None:
        update = f'UPDATE "{schema}".workflow_runs SET {columns} WHERE id = $1'
        conn.execute(update.encode(), [run])

    return change


@pytest.fixture
def get(conn: psycopg.Connection, schema: str) -> Callable[[str], RunRow]:
    return lambda run: ClientQueries(schema, "default").get_run(run).run(conn)


@pytest.mark.parametrize("mode", ["--processes=2", "--foreground"])
def test_without_a_run_the_worker_exits_as_soon_as_it_is_ready(begin: Begin, mode: str) -> None:
    worker = begin(mode, "--burst", ready=False)
    assert worker.program.wait() == 0
    text = worker.log.text
    assert text.index(": ready: ") < text.index("no run is due: stopping, because of --burst")


@pytest.mark.parametrize("options", [[], ["--no-listen", "--poll-interval=1h"], ["--foreground"]])
def test_all_due_runs_end_first_also_those_that_they_start_or_wake(
    begin: Begin, tmp_path: Path, start: Start, get: Callable[[str], RunRow], options: list[str]
) -> None:
    runs = [start("record", text="run") for _ in range(20)] + [start("trunk")]
    (tmp_path / "flows.py").write_text(FLOWS + TREE)
    worker = begin(*options, "--burst", ready=False)
    assert worker.program.wait() == 0
    assert {get(run).status for run in runs} == {"completed"}
    effects = worker.effects()
    assert effects.count("run") == 20
    assert [each for each in effects if each != "run"] == ["leaf", "leaf", "leaf", "trunk"]


def test_a_run_that_waits_until_later_stays(
    begin: Begin, tmp_path: Path, start: Start, get: Callable[[str], RunRow]
) -> None:
    run = start("nap")
    (tmp_path / "flows.py").write_text(FLOWS + TREE)
    worker = begin("--burst", ready=False)
    assert worker.program.wait() == 0
    assert worker.effects() == ["before the nap"]
    assert (get(run).status, get(run).worker_id) == ("running", None)


def test_a_run_whose_process_dies_is_tried_again_first(
    begin: Begin, start: Start, get: Callable[[str], RunRow]
) -> None:
    run = start("die_once", how="os._exit(7)")
    worker = begin("--burst", ready=False)
    assert worker.program.wait() == 0
    assert worker.effects() == ["before", "survived"]
    assert get(run).status == "completed"


def test_a_run_that_a_dead_worker_holds_is_due(
    begin: Begin, start: Start, change: Callable[[str, str], None]
) -> None:
    run = start("record", text="lapsed")
    lapsed = "status = 'running', worker_id = 'gone:1', available_at = now() - interval '1 day'"
    change(run, lapsed)
    worker = begin("--burst", ready=False)
    assert worker.program.wait() == 0
    assert worker.effects() == ["lapsed"]


def test_a_run_that_turns_up_far_back_in_the_queue_is_due(
    begin: Begin, tmp_path: Path, start: Start, change: Callable[[str, str], None]
) -> None:
    start("wait_for_file", path=str(tmp_path / "go"))
    worker = begin("--burst", "--no-listen", "--poll-interval=1h", "--processes=1", ready=False)
    worker.await_effect("waiting")
    change(start("record", text="old"), "available_at = now() - interval '1 day'")
    (tmp_path / "go").touch()
    assert worker.program.wait() == 0
    assert worker.effects() == ["waiting", "after", "old"]


def test_runs_past_their_deadline_are_failed_first(
    begin: Begin, start: Start, change: Callable[[str, str], None], get: Callable[[str], RunRow]
) -> None:
    run = start("record", text="late")
    change(run, "deadline_at = now() - interval '1 s'")
    worker = begin("--burst", ready=False)
    assert worker.program.wait() == 0
    assert get(run).status == "failed"


def test_a_reload_is_given_up_when_no_run_is_due(
    begin: Begin, tmp_path: Path, start: Start
) -> None:
    start("wait_for_file", path=str(tmp_path / "go"))
    (tmp_path / "flows.py").write_text(FLOWS + STOP_SLOWLY)
    worker = begin("--burst", "--processes=1", ready=False)
    worker.await_effect("waiting")
    (tmp_path / "flows.py").write_text(FLOWS + "note('importing')\ntime.sleep(3600)\n")
    worker.program.signal(signal.SIGHUP)
    worker.await_effect("importing")
    (tmp_path / "go").touch()
    worker.await_effect("stopping")
    worker.await_descendants(2)
    (tmp_path / "stopped").touch()
    assert worker.program.wait() == 0


def test_the_worker_sweeps_and_then_looks_through_the_whole_queue_before_it_is_over() -> None:
    asked = Mock()
    asked.claims.connected = True
    asked.claims.claiming = asked.sweeps.in_flight = False
    asked.undone.looking = False
    burst = Burst(asked.claims, asked.sweeps, asked.undone, asked.claim_soon)
    burst.on_claimed(0, None)  # of a claim that was sent before
    assert not burst.is_over(idle=True, workflows=())
    asked.sweeps.in_flight = True
    assert not burst.is_over(idle=True, workflows=())
    assert asked.mock_calls == [call.sweeps.sweep_all(()), call.undone.look()]
    asked.sweeps.in_flight, asked.undone.looking = False, True
    assert not burst.is_over(idle=True, workflows=())
    asked.undone.looking = False
    assert not burst.is_over(idle=True, workflows=())
    assert asked.mock_calls[2:] == [call.claims.scan_all(), call.claim_soon()]
    burst.on_claimed(0, 0.02)  # another session has locked a run
    assert not burst.is_over(idle=True, workflows=())
    burst.on_claimed(0, 60.0)
    assert not burst.is_over(idle=False, workflows=())
    assert not burst.is_over(idle=True, workflows=())  # it begins again
