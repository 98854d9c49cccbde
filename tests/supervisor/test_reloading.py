"""HUP: new code takes the place of the old, while runs are picked up and executed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.processes import Spawn, owsuper_command
from tests.fixtures.proxy import Proxy
from tests.supervisor.worker import FLOWS, Begin, Worker

# What ``code`` adds to FLOWS: effects that say which code has brought them about.
SAY = """
NAME = {name!r}

@ow.workflow
def say(step, input: dict):
    step.run("say", note, NAME)

@ow.workflow
def say_late(step, input: dict):
    def wait():
        note("began in " + NAME)
        while not Path(input["path"]).exists():
            time.sleep(0.01)
    step.run("wait", wait)
    step.run("say", lambda: note("ended in " + NAME))

@ow.workflow({name!r})
def own(step):
    step.run("say", note, "own of " + NAME)
"""


def write(directory: Path, name: str, extra: str = "") -> None:
    """Write code called ``name``; names of other lengths, so that no .pyc is taken for fresh."""
    (directory / "flows.py").write_text(FLOWS + SAY.format(name=name) + extra)


def reload(worker: Worker, count: int = 1) -> None:
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for(r": reloaded: ", count=count)


def said(worker: Worker) -> str:
    """Execute a run, and return which code did it."""
    before = len(worker.effects())
    worker.await_outcome(worker.start("say"))
    return worker.effects()[before]


def test_after_a_reload_new_processes_execute_the_new_code(begin: Begin, tmp_path: Path) -> None:
    write(tmp_path, "old")
    worker = begin()
    old = {worker.program.template(), *worker.children()}
    assert said(worker) == "old"
    write(tmp_path, "newer")
    reload(worker)
    assert said(worker) == "newer"
    worker.await_descendants(3)
    assert not old & set(worker.program.descendants())
    assert worker.stop() == 0
    assert worker.crashes() == []
    assert " ERROR " not in worker.log.text


def test_runs_in_progress_finish_in_the_old_code_while_the_new_code_takes_runs(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path, "old")
    worker = begin()
    runs = [worker.start("say_late", path=str(tmp_path / "go")) for _ in range(2)]
    worker.await_effect("began in old", 2)  # all slots are taken
    write(tmp_path, "newer")
    reload(worker)
    assert said(worker) == "newer"
    (tmp_path / "go").touch()
    for run in runs:
        worker.await_outcome(run)
    assert sorted(worker.effects()) == [*["began in old"] * 2, *["ended in old"] * 2, "newer"]
    assert [worker.get(run).attempts for run in runs] == [1, 1]
    assert worker.crashes() == []
    worker.await_descendants(3)


def test_after_the_graceful_time_out_a_run_moves_to_the_new_code_at_its_next_step(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path, "old")
    worker = begin("--graceful-timeout=100ms")
    run = worker.start("say_late", path=str(tmp_path / "go"))
    worker.await_effect("began in old")
    write(tmp_path, "newer")
    reload(worker)
    worker.log.wait_for(f"moving a run to another process.* run_id={run}")
    worker.program.signal(signal.SIGUSR1)
    worker.log.wait_for(rf"^run {run} say_late: wait$")  # the process has read what came before
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.effects() == ["began in old", "ended in newer"]
    assert worker.crashes() == []
    worker.await_descendants(3)


@pytest.mark.slow
def test_with_many_old_processes_the_next_reload_waits_until_one_has_left(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path, "v")
    worker = begin("--processes=1")
    for number in range(1, 5):
        worker.start("say_late", path=str(tmp_path / f"go {number}"))
        worker.await_effect(f"began in {'v' * number}")
        write(tmp_path, "v" * (number + 1))
        reload(worker, number)
    write(tmp_path, "newest")
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for("the reload waits until a process of older code has left; there are 4")
    assert said(worker) == "vvvvv"
    (tmp_path / "go 2").touch()
    worker.log.wait_for(": reloaded: ", count=5)
    assert said(worker) == "newest"
    for number in range(1, 5):
        (tmp_path / f"go {number}").touch()
    worker.await_descendants(2)
    assert worker.crashes() == []


BROKEN = [
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("def", "SyntaxError"),
    ("del globals()['ow']; ow = OpenWorkflow()\nfor n in list(globals()):\n"
     "    if type(globals()[n]).__name__ == 'Workflow': del globals()[n]", "No workflow"),
    ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
    ("another = OpenWorkflow(schema='other')", "another schema.* Restart the worker"),
    ("@ow.on_child_start\ndef fail(): raise ValueError('no token')", "ValueError: no token"),
    ("@ow.on_child_start\ndef fail(): os._exit(7)", "exit code 7"),
    ("@ow.on_child_start\ndef fail(): os.abort()", "signal SIGABRT"),
    ("os.environ['PGOPTIONS'] = '-c no_such=1'", "The database cannot be reached"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_if_the_new_code_cannot_serve_the_old_code_serves_on_until_it_is_mended(
    begin: Begin, tmp_path: Path, preload: str
) -> None:
    write(tmp_path, "old")
    worker = begin(preload)
    worker.await_descendants(3)  # the process that imported the application has ended
    processes = set(worker.program.descendants())
    for count, (extra, words) in enumerate(BROKEN, 1):
        write(tmp_path, "broken" + "x" * count, f"\n{extra}\n")
        worker.program.signal(signal.SIGHUP)
        failed = "ERROR .*: the reload failed, the old code serves on: "
        worker.log.wait_for(f"(?:{failed}(?s:.*?)){{{count}}}{words}")
        assert said(worker) == "old"
        worker.await_descendants(len(processes))
    assert set(worker.program.descendants()) == processes
    assert worker.log.text.count("Traceback") >= 2
    write(tmp_path, "mended")
    reload(worker)
    assert said(worker) == "mended"
    assert worker.crashes() == []
    assert worker.stop() == 0


def test_new_code_with_another_namespace_needs_a_restart(begin: Begin, tmp_path: Path) -> None:
    worker = begin()
    (tmp_path / "flows.py").write_text(
        FLOWS.replace("OpenWorkflow()", "OpenWorkflow(namespace='x')")
    )
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for("the reload failed, .*another namespace.* Restart the worker")
    assert worker.stop() == 0


def test_the_workflows_that_are_claimed_are_those_of_the_new_code(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path, "old")
    worker = begin("--poll-interval=1h")
    waiting = worker.start("newer")
    worker.await_outcome(worker.start("old"))
    write(tmp_path, "newer")
    reload(worker)
    worker.await_outcome(waiting)
    gone = worker.start("old")
    assert said(worker) == "newer"
    worker.await_descendants(3)
    assert worker.get(gone).status == "pending"
    assert worker.effects() == ["own of old", "own of newer", "newer"]


def test_a_second_hup_replaces_an_import_that_goes_on(begin: Begin, tmp_path: Path) -> None:
    write(tmp_path, "old")
    worker = begin()
    write(tmp_path, "endless", "\nnote('importing')\ntime.sleep(3600)\n")
    worker.program.signal(signal.SIGHUP)
    worker.await_effect("importing")
    write(tmp_path, "newer")
    reload(worker)
    assert said(worker) == "newer"
    worker.await_descendants(3)
    assert "reload failed" not in worker.log.text


# The first process with this code is ready at once; the others wait.
ROLL_SLOWLY = """
@ow.on_child_start
def wait():
    if Path("rolling").exists():
        note("rolling")
        while not Path("rolled").exists():
            time.sleep(0.01)
    Path("rolling").touch()
"""
IMPORT_SLOWLY = """
note("importing")
while not Path("importable").exists():
    time.sleep(0.01)
"""


def test_a_reload_that_replaces_another_ends_by_itself(begin: Begin, tmp_path: Path) -> None:
    write(tmp_path, "old")
    worker = begin()
    write(tmp_path, "newer", ROLL_SLOWLY)
    worker.program.signal(signal.SIGHUP)
    worker.await_effect("rolling")
    write(tmp_path, "newest", IMPORT_SLOWLY)
    worker.program.signal(signal.SIGHUP)
    worker.await_effect("importing")
    (tmp_path / "rolled").touch()
    worker.log.wait_for("child ready", count=4)
    assert said(worker) == "newer"
    worker.await_title("reloading$")
    (tmp_path / "importable").touch()
    worker.log.wait_for(": reloaded: ")
    assert said(worker) == "newest"
    assert worker.log.text.count(": reloaded: ") == 1


def test_a_reload_that_failed_has_failed_though_an_earlier_one_succeeds_later(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path, "old")
    worker = begin()
    write(tmp_path, "newer", ROLL_SLOWLY)
    worker.program.signal(signal.SIGHUP)
    worker.await_effect("rolling")
    write(tmp_path, "broken", "\n1 / 0\n")
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for("the reload failed")
    (tmp_path / "rolled").touch()
    worker.log.wait_for("child ready", count=4)
    worker.await_descendants(3)
    assert said(worker) == "newer"
    worker.await_title("last reload failed$")


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_an_import_that_never_ends_does_not_outlive_the_supervisor(
    begin: Begin, tmp_path: Path, preload: str
) -> None:
    worker = begin(preload)
    write(tmp_path, "endless", "\nnote('importing')\ntime.sleep(3600)\n")
    worker.program.signal(signal.SIGHUP)
    worker.await_effect("importing")
    worker.program.kill()
    worker.await_no_descendants()


@pytest.mark.slow
def test_a_hup_during_the_start_reloads_after_it(begin: Begin, tmp_path: Path) -> None:
    write(tmp_path, "old", "\nnote('importing')\ntime.sleep(0.5)\n")
    worker = begin(ready=False)
    worker.await_effect("importing")
    write(tmp_path, "newer")
    reload(worker)
    assert said(worker) == "newer"
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_worker_stops_in_the_middle_of_a_reload(begin: Begin, tmp_path: Path) -> None:
    write(tmp_path, "old")
    worker = begin()
    run = worker.start("say_late", path=str(tmp_path / "go"))
    worker.await_effect("began in old")
    write(tmp_path, "endless", "\nnote('importing')\ntime.sleep(3600)\n")
    worker.program.signal(signal.SIGHUP)
    worker.await_effect("importing")
    worker.program.terminate()
    worker.log.wait_for("draining")
    (tmp_path / "go").touch()
    assert worker.program.wait() == 0
    assert worker.get(run).status == "completed"
    assert worker.program.descendants() == []


@pytest.mark.slow
def test_if_the_supervisor_dies_between_two_generations_no_run_is_begun_twice(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path, "old")
    worker = begin("--lease=1h")
    old = worker.start("say_late", path=str(tmp_path / "go"))
    worker.await_effect("began in old")
    write(tmp_path, "newer")
    reload(worker)
    new = worker.start("say_late", path=str(tmp_path / "go"))
    worker.await_effect("began in newer")
    second = begin()
    worker.program.kill()
    assert said(second) == "newer"  # it looks for runs
    (tmp_path / "go").touch()
    worker.await_no_descendants()
    for run in (old, new):
        second.await_completed(run)
    assert worker.effects().count("began in old") == 1
    assert worker.effects().count("began in newer") == 1


@pytest.mark.slow
def test_the_template_of_the_new_code_is_replaced_when_it_dies(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path, "old")
    worker = begin("--processes=1")
    write(tmp_path, "newer")
    reload(worker)
    worker.await_descendants(2)
    os.kill(worker.program.template(), signal.SIGKILL)
    worker.log.wait_for("the template died, starting another")
    os.kill(worker.children()[-1], signal.SIGKILL)
    worker.log.wait_for("child ready", count=3)
    assert said(worker) == "newer"
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_link_to_another_release_is_followed(
    spawn: Spawn, begin: Begin, tmp_path: Path, database_url: str, schema: str
) -> None:
    for name in ("one", "three"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, name, "\nprint('this is', NAME, file=__import__('sys').stderr)\n")
    current = tmp_path / "current"
    current.symlink_to("one")
    program = spawn(
        "sh",
        "-c",
        f"cd {current}; exec {' '.join(owsuper_command())} --module flows --processes 1",
        env={"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema},
        cwd=tmp_path,
    )
    program.stderr.wait_for(": ready: ")
    current.unlink()
    current.symlink_to("three")
    program.signal(signal.SIGHUP)
    program.stderr.wait_for("reloaded: ")
    assert "this is three" in program.stderr.text
    program.terminate()
    assert program.wait() == 0


# --- under load ----------------------------------------------------------------------------------

RELOADS = int(os.environ.get("OWSUPER_TEST_RELOADS", "6"))


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * RELOADS)
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_many_reloads_under_load_lose_no_run_and_leave_nothing_behind(
    begin: Begin, tmp_path: Path
) -> None:
    """OWSUPER_TEST_RELOADS=200 reloads that often."""
    write(tmp_path, "old")
    worker = begin("--concurrency=2", "--log-level=info")
    runs = []
    resources: list[tuple[int, int]] = []
    for number in range(RELOADS):
        write(tmp_path, "n" * (number % 7 + 1))
        worker.program.signal(signal.SIGHUP)
        while worker.log.text.count(": reloaded: ") <= number:
            runs += [worker.start("say") for _ in range(5)]
            worker.await_completed(runs[-5])
        worker.await_descendants(3)
        if number > 1:
            await_descriptors(worker, most=resources[1][0])
        resources.append((descriptors(worker.program.pid), memory_kb(worker.program.pid)))
    for run in runs:
        worker.await_completed(run)
    print(f"{len(runs)} runs; descriptors and private KB: {resources[:: max(1, RELOADS // 10)]}")
    assert len(worker.effects()) == len(runs)
    assert worker.crashes() == []
    assert {worker.get(run).attempts for run in runs[:: max(1, len(runs) // 200)]} == {1}
    assert resources[-1][1] - resources[RELOADS // 3][1] < 512
    assert worker.stop() == 0
    assert worker.program.descendants() == []


def await_descriptors(worker: Worker, most: int) -> None:
    """Wait until the supervisor has closed those of processes that have just ended."""
    deadline = time.monotonic() + 60
    while (count := descriptors(worker.program.pid)) > most:
        assert time.monotonic() < deadline, f"{count} descriptors are open, and not {most}"
        time.sleep(0.01)  # descriptors can only be polled


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def test_without_a_database_the_old_code_serves_on(
    begin: Begin, tmp_path: Path, proxy: Proxy
) -> None:
    write(tmp_path, "old")
    worker = begin(url=proxy.url)
    run = worker.start("say_late", path=str(tmp_path / "go"))
    worker.await_effect("began in old")
    proxy.cut()
    worker.log.wait_for("the claiming connection is down")
    write(tmp_path, "newer")
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for("the reload failed, .*: The database cannot be reached")
    proxy.restore()
    (tmp_path / "go").touch()
    worker.await_completed(run)
    assert said(worker) == "old"
    reload(worker)
    assert said(worker) == "newer"
    assert worker.get(run).attempts == 1
    assert worker.crashes() == []
