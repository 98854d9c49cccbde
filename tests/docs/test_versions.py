"""What docs/versions.md says of versions and of changed workflows is so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

import psycopg
import pytest

from owsuper import OpenWorkflow, RunFailed, RunHandle
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

VERSIONS = Document("docs/versions.md")


@VERSIONS.covers("orders", "start")
def test_versions_stand_side_by_side_in_one_worker(connected: Sandbox) -> None:
    connected.write("orders.py", VERSIONS["orders"])
    connected.write("start.py", VERSIONS["start"])
    connected.worker("owsuper --processes 1 --module orders.py").stderr.wait_for("ready: ")
    assert connected.run("python start.py").splitlines() == [
        *("tea by post", "tea by bicycle", "1190", "1210", "tea by bicycle")
    ]


@VERSIONS.covers("compatible")
def test_a_compatible_version_takes_runs_of_older_ones(connected: Sandbox) -> None:
    connected.write("orders.py", VERSIONS["compatible"])
    ids = [
        connected.run(f"owsuper start order --input '\"tea\"' {version}").strip()
        for version in ("--version 2", "", "--version 3")
    ]
    connected.worker("owsuper --processes 1 --module orders.py").stderr.wait_for("ready: ")
    for run_id in ids:
        assert connected.run(f"owsuper runs wait {run_id}") == '"tea by train (version 3)"\n'
        assert re.search(
            r"^workflow +order, version 3$", connected.run(f"owsuper runs show {run_id}"), re.M
        )


@VERSIONS.covers("neglected", "open")
def test_runs_of_a_version_that_no_worker_has_are_left_alone_and_found(
    connected: Sandbox, conn: psycopg.Connection, schema: str
) -> None:
    connected.write("orders.py", VERSIONS["orders"])
    worker = connected.worker("owsuper --processes 1 --poll-interval 100ms --module orders.py")
    worker.stderr.wait_for("ready: ")
    due = (datetime.now(UTC) - timedelta(seconds=12)).isoformat()
    start = f"owsuper start order --input '\"tea\"' --at {due}"
    for version in ("", "--version 3"):
        run_id = connected.run(f"{start} {version}").strip()
    connected.run(f"{start} --version 2 --wait --timeout 30s")
    shown = connected.run(f"owsuper runs show {run_id}").splitlines()
    [line] = [line for line in shown if line.startswith("no worker")]
    assert re.sub(r"(\d+m )?\d+s", "12s", line) == VERSIONS["neglected"].strip()
    assert run_id not in worker.stderr.text
    query = VERSIONS["open"].replace("openworkflow.", f'"{schema}".')
    assert conn.execute(query.encode()).fetchall() == [("order", "3", 1), ("order", None, 1)]


@VERSIONS.covers("upcast")
def test_stored_values_that_do_not_fit_are_upgraded(
    connected: Sandbox, conn: psycopg.Connection, schema: str
) -> None:
    connected.write(
        "old.py",
        "from owsuper import OpenWorkflow, Step\n"
        "ow = OpenWorkflow()\n\n"
        '@ow.workflow("invoice")\n'
        "def invoice(step: Step, price: float) -> float:\n"
        '    total = step.run("add-tax", lambda: price * 1.19)\n'
        '    step.sleep("until-due", "2s")\n'
        "    return total\n",
    )
    connected.write("invoices.py", VERSIONS["upcast"])
    connected.write(
        "read.py",
        "import sys\nfrom invoices import Money, invoice\n"
        "print(invoice.run(Money(1, 'EUR'), id=sys.argv[1]).result('30s'))\n",
    )
    worker = connected.worker("owsuper --processes 1 --module old.py")
    worker.stderr.wait_for("ready: ")
    connected.run("owsuper start invoice --input 10.0 --id ended")
    connected.run("owsuper runs wait ended")
    connected.run("owsuper start invoice --input 10.0 --id open")
    naps = f"SELECT count(*) FROM \"{schema}\".step_attempts WHERE kind = 'sleep'".encode()
    while conn.execute(naps).fetchone() == (1,):
        sleep(0.01)
    worker.terminate()
    assert worker.wait() == 0
    connected.worker("owsuper --processes 1 --module invoices.py").stderr.wait_for("ready: ")
    for run_id in ("ended", "open"):
        assert connected.run(f"python read.py {run_id}") == "Money(cents=1190, currency='EUR')\n"
    connected.run("owsuper start invoice --input 10.0 --id later")
    assert connected.run("python read.py later") == "Money(cents=1190, currency='EUR')\n"


@VERSIONS.covers("patched", "old-branches")
def test_runs_in_progress_take_the_old_branch_and_new_runs_the_new_one(
    connected: Sandbox, conn: psycopg.Connection, schema: str
) -> None:
    new = VERSIONS["patched"]
    old = "".join(
        line
        for line in new.splitlines(keepends=True)
        if "patched(" not in line and "add-tax" not in line
    )
    connected.write("bills.py", old)
    worker = connected.worker("owsuper --processes 1 --module bills.py")
    worker.stderr.wait_for("ready: ")
    before = connected.run("owsuper start monthly-bill --input 100").strip()
    naps = f"SELECT count(*) FROM \"{schema}\".step_attempts WHERE kind = 'sleep'".encode()
    while conn.execute(naps).fetchone() == (0,):
        sleep(0.01)
    worker.terminate()
    assert worker.wait() == 0
    connected.write("bills.py", new)
    connected.worker("owsuper --processes 1 --module bills.py").stderr.wait_for("ready: ")
    after = connected.run("owsuper start monthly-bill --input 100").strip()
    assert [connected.run(f"owsuper runs wait {each}") for each in (before, after)] == [
        "100\n",
        "119\n",
    ]
    query = VERSIONS["old-branches"].replace("openworkflow.", f'"{schema}".')
    assert conn.execute(query.encode()).fetchall() == []


@VERSIONS.covers("replay", "export", "unfinished")
def test_new_code_is_replayed_over_recorded_runs(connected: Sandbox) -> None:
    def write(step: str) -> None:
        connected.write(
            "app/workflows.py",
            "from owsuper import OpenWorkflow, Step\n"
            "ow = OpenWorkflow()\n"
            "@ow.workflow\n"
            "def order(step: Step) -> str:\n"
            f"    return step.run({step!r}, lambda: 'charged')\n",
        )

    write("charge")
    connected.worker("owsuper --processes 1 --module app.workflows").stderr.wait_for("ready: ")
    run_id = connected.run("owsuper start order").strip()
    connected.run(f"owsuper runs wait {run_id} --timeout 30s")
    assert connected.run(VERSIONS["replay"]) == ""
    export, replay = VERSIONS["export"].splitlines()
    assert connected.run(f"{export}\n{replay}") == ""
    write("charge-card")
    program = connected.start(VERSIONS["replay"])
    assert program.wait() == 1
    program.end()
    assert program.stdout.text.startswith(f"{run_id} order: step 'charge-card': Step 'charge-card'")
    assert program.stderr.text == "owsuper: replayed 1 run: 0 fit, 1 do not\n"
    assert connected.run(VERSIONS["unfinished"]) == ""  # the run has ended
    assert connected.run("owsuper runs export --unfinished") == ""
    program = connected.start(f"env OWSUPER_DATABASE_URL=postgresql://127.0.0.1:1/x {replay}")
    assert program.wait() == 1
    program.end()
    assert program.stdout.text.startswith(f"{run_id} order: step 'charge-card': Step 'charge-card'")


# --- changed code ------------------------------------------------------------------------------

COMMON = """
from dataclasses import dataclass
from pathlib import Path
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()

def called(name: str) -> str:
    with Path("calls").open("a") as calls:
        calls.write(f"{name} ")
    return name
"""

BEFORE = """
@dataclass
class Input:
    number: int

@dataclass
class Note:
    text: str

def note() -> Note:
    return Note(called("note"))

@ow.workflow
def changed(step: Step, input: Input) -> list[str]:
    step.run("kept", called, "kept")
    step.run("removed", called, "removed")
    step.run("old-name", called, "old-name")
    step.run("charge", called, "charge")
    step.run("note", note)
    step.wait_for_signal("go")
    return []
"""

AFTER = """
@dataclass
class Input:
    number: int
    more: str = "more"

@dataclass
class Note:
    text: str
    author: str = "nobody"

def note() -> Note:
    return Note(called("another note"))

@ow.workflow
def changed(step: Step, input: Input) -> list[str]:
    step.run("added", called, "added")
    read = step.run("note", note)
    step.run("kept", called, "kept")
    step.run("new-name", called, "new-name")
    step.run("charge-card", called, "charge-card", formerly="charge")
    step.wait_for_signal("go")
    return [input.more, read.text, read.author]
"""

UNFIT_BEFORE = """
@ow.workflow
def kind(step: Step, number: int) -> None:
    step.run("pause", called, "pause")
    step.wait_for_signal("go")

def one() -> int:
    return 1

@ow.workflow
def result(step: Step, number: int) -> None:
    step.run("one", one)
    step.wait_for_signal("go")

@ow.workflow
def given(step: Step, number: int) -> None:
    step.wait_for_signal("go")
"""

UNFIT_AFTER = """
@ow.workflow
def kind(step: Step, number: int) -> None:
    step.sleep("pause", "1s")
    step.wait_for_signal("go")

def one() -> str:
    return "1"

@ow.workflow
def result(step: Step, number: int) -> None:
    step.run("one", one)
    step.wait_for_signal("go")

@ow.workflow
def given(step: Step, text: str) -> None:
    step.wait_for_signal("go")
"""


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what the database shows but does not tell."""
    give_up = monotonic() + 60
    while not is_so():
        assert monotonic() < give_up, "it never came to be"
        sleep(0.02)


def waits(run: RunHandle[object]) -> bool:
    """Whether the run is parked."""
    details = run.details()
    return details.attempts == 1 and details.status == "running" and details.worker_id is None


def test_changed_code_meets_a_run_that_is_under_way(connected: Sandbox, ow: OpenWorkflow) -> None:
    connected.write("flows.py", COMMON + BEFORE)
    worker = connected.worker("owsuper --processes 1 --module flows.py")
    worker.stderr.wait_for("ready: ")
    run = ow.run_workflow("changed", {"number": 1})
    until(lambda: waits(run))
    worker.terminate()
    assert worker.wait() == 0
    connected.write("flows.py", COMMON + AFTER)
    worker = connected.worker("owsuper --processes 1 --module flows.py")
    worker.stderr.wait_for("ready: ")
    ow.send_signal("go")
    assert run.result(timeout="30s") == ["more", "note", "nobody"]
    calls = (connected.directory / "calls").read_text().split()
    assert calls == ["kept", "removed", "old-name", "charge", "note", "added", "new-name"]
    worker.stderr.wait_for(
        "Step 'added' is new, and the code has not called steps that this run has recorded: kept,"
        " removed, old-name, charge, note, go."
    )
    worker.stderr.wait_for("recorded steps that this code never reached: removed, old-name;")


def test_changed_code_that_does_not_fit_fails_the_run(connected: Sandbox, ow: OpenWorkflow) -> None:
    connected.write("flows.py", COMMON + UNFIT_BEFORE)
    worker = connected.worker("owsuper --processes 1 --module flows.py")
    worker.stderr.wait_for("ready: ")
    runs = {name: ow.run_workflow(name, 1) for name in ("kind", "result", "given")}
    for run in runs.values():
        until(lambda run=run: waits(run))
    worker.terminate()
    assert worker.wait() == 0
    connected.write("flows.py", COMMON + UNFIT_AFTER)
    connected.worker("owsuper --processes 1 --module flows.py").stderr.wait_for("ready: ")
    ow.send_signal("go")
    for name, complaint in [
        ("kind", "NonDeterminismError: Step 'pause' is recorded as a step of kind 'function'"),
        ("result", "InvalidData: result of step 'one': expected str, got int"),
        ("given", 'InvalidData: input of workflow "given": expected str, got int'),
    ]:
        with pytest.raises(RunFailed, match=re.escape(complaint)):
            runs[name].result(timeout="30s")


def test_every_block_of_the_page_is_executed() -> None:
    assert VERSIONS.unexecuted() == []
