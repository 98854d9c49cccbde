"""Workers that a program starts and stops, as real programs with real processes."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from owsuper import OpenWorkflow, Step
from owsuper.errors import ConfigurationError, RegistrationError, WorkerError
from tests.fixtures.processes import Program, Spawn

FLOWS = """
import asyncio, os, sys
from pathlib import Path
from owsuper import AsyncStep, OpenWorkflow, Step

ow = OpenWorkflow()

@ow.workflow
def double(step: Step, input: int) -> int:
    return step.run("double", lambda: input * 2)

@ow.workflow
async def adouble(step: AsyncStep, input: int) -> int:
    return await step.run("double", lambda: input * 2)

@ow.workflow
def where(step: Step) -> list[int]:
    return step.run("where", lambda: [os.getpid(), os.getppid()])

@ow.workflow
def wait_for(step: Step, input: str) -> str:
    def wait() -> str:
        Path(input + ".begun").touch()
        while not Path(input).exists():
            Path(input).parent.stat()
        return "waited"
    return step.run("wait", wait)
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a program, by default as ``program.py``."""

    def write(script: str, name: str = "program.py") -> Path:
        file = tmp_path / name
        file.write_text(dedent(script))
        return file

    return write


@pytest.fixture
def environment(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


@pytest.fixture
def start(spawn: Spawn, environment: dict[str, str], tmp_path: Path) -> Callable[[Path], Program]:
    return lambda file: spawn(sys.executable, file, env=environment, cwd=tmp_path)


def gone(pid: int) -> bool:
    """Whether this process has ended, collected or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            ended, _, _ = select.select([descriptor], [], [], 30)
            os.close(descriptor)
            assert ended, f"process {pid} lives on"


def test_a_program_runs_its_workflows_on_a_worker_of_its_own(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(FLOWS, "flows.py")
    program = start(
        write(
            """
            from flows import *

            with ow.new_worker(processes=2, concurrency=2) as worker:
                print("pid", worker.pid, worker.running)
                print([handle.result(30) for handle in double.run_many(range(5))])
                async def main():
                    return await (await adouble.arun(21)).aresult(30)
                print(asyncio.run(main()))
            print(worker.running)
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.join()
    lines = program.stdout.text.splitlines()
    assert lines[1:] == ["[0, 2, 4, 6, 8]", "42", "False"]
    pid, running = lines[0].split()[1:]
    assert running == "True"
    assert gone(int(pid))


@pytest.mark.slow
def test_a_script_may_hold_workflows_and_worker_at_once(
    start: Callable[[Path], Program], write: Write
) -> None:
    program = start(
        write(
            FLOWS
            + """
if __name__ == "__main__":
    worker = ow.new_worker(processes=1).start()
    print(double.run(21).result(30))
    worker.stop()
    worker.stop()
    worker.start()
    print(double.run(4).result(30))
    worker.stop()
"""
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.split() == ["42", "8"]


@pytest.mark.slow
def test_a_worker_serves_the_instance_that_made_it_and_no_other_of_its_module(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(FLOWS, "flows.py")
    write(
        """
        from flows import *
        other = OpenWorkflow(namespace="elsewhere")

        @other.workflow("double")
        def other_double(step: Step, input: int) -> int:
            return -1

        @ow.workflow
        def treble(step: Step, input: int) -> int:
            return 3 * input
        """,
        "more.py",
    )
    program = start(
        write(
            """
            from more import ow, treble
            if __name__ == "__main__":
                with ow.new_worker(processes=1):
                    print(treble.run(7).result(30))
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    assert program.stdout.text == "21\n"


@pytest.mark.slow
def test_a_script_without_a_main_guard_gets_advice_and_one_traceback(
    start: Callable[[Path], Program], write: Write
) -> None:
    program = start(write(FLOWS + "ow.new_worker(processes=1).start()\n"))
    assert program.wait(60) == 1
    program.stderr.join()
    assert program.stderr.text.count("Traceback") == 1
    assert 'if __name__ == "__main__":' in program.stderr.text
    assert "WorkerError: the worker ended with exit code" in program.stderr.text


@pytest.mark.slow
def test_the_standard_error_of_the_worker_is_copied(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(FLOWS, "flows.py")
    program = start(
        write(
            """
            from flows import *
            with ow.new_worker(processes=1, log_level="info") as worker:
                print(worker.pid)
            """
        )
    )
    assert program.wait(60) == 0
    program.stderr.join()
    assert program.stdout.text.strip() in program.stderr.text


@pytest.mark.slow
def test_stopping_lets_runs_finish(
    start: Callable[[Path], Program], write: Write, tmp_path: Path
) -> None:
    write(FLOWS, "flows.py")
    program = start(
        write(
            f"""
            import threading
            from flows import *
            marker = {str(tmp_path / "marker")!r}
            worker = ow.new_worker(processes=1).start()
            handle = wait_for.run(marker)
            while not Path(marker + ".begun").exists():
                pass
            threading.Timer(0.5, Path(marker).touch).start()
            worker.stop()
            print(handle.status(), handle.result(0))
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.split() == ["completed", "waited"]


@pytest.mark.slow
def test_a_program_reloads_the_code_of_its_worker(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(FLOWS, "flows.py")
    program = start(
        write(
            """
            from flows import *
            from owsuper.errors import WorkerError
            file = Path("flows.py")
            code = file.read_text()
            worker = ow.new_worker(processes=1).start()
            before = worker.pid, double.run(21).result(30)
            file.write_text(code.replace("* 2", "* 200"))
            worker.reload()
            print(before == (worker.pid, 42), double.run(21).result(30))
            file.write_text("1 / 0")
            try:
                worker.reload()
            except WorkerError as error:
                print(error)
            file.write_text("import time; time.sleep(3600)")
            try:
                worker.reload(timeout="500ms")
            except WorkerError as error:
                print(error)
            file.write_text(code.replace("* 2", "* 20000"))
            worker.reload()
            print(double.run(21).result(30))
            worker.stop()
            try:
                worker.reload()
            except WorkerError as error:
                print(error)
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.splitlines() == [
        "True 4200",
        "the reload failed, the old code serves on: flows cannot be imported: ZeroDivisionError:"
        " division by zero",
        "the worker has not reloaded within 0.5 s",
        "420000",
        "this worker is not running",
    ]


def test_a_program_that_ends_stops_its_worker(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(FLOWS, "flows.py")
    program = start(
        write(
            """
            from flows import *
            worker = ow.new_worker(processes=1).start()
            print(worker.pid, *where.run().result(30))
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    wait_until_gone(*map(int, program.stdout.wait_for(r"^\d+ \d+ \d+$")[0].split()))


@pytest.mark.slow
def test_a_program_that_is_killed_leaves_no_worker(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(FLOWS, "flows.py")
    program = start(
        write(
            """
            from flows import *
            worker = ow.new_worker(processes=1).start()
            print(worker.pid, *where.run().result(30), flush=True)
            sys.stdin.read()
            """
        )
    )
    pids = map(int, program.stdout.wait_for(r"^\d+ \d+ \d+$")[0].split())
    program.kill()
    wait_until_gone(*pids)


@pytest.mark.slow
def test_a_forked_child_leaves_the_worker_alone(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(FLOWS, "flows.py")
    program = start(
        write(
            """
            import warnings
            from flows import *
            warnings.simplefilter("ignore")
            worker = ow.new_worker(processes=1).start()
            if not os.fork():
                worker.stop()
                sys.exit()
            os.wait()
            print(worker.running, double.run(21).result(30))
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.split() == ["True", "42"]


def test_a_module_that_does_not_import_is_quoted(
    start: Callable[[Path], Program], write: Write
) -> None:
    write("import os\nos.no_such_thing()\n", "broken.py")
    program = start(
        write(
            """
            from owsuper import OpenWorkflow
            from owsuper.errors import WorkerError
            try:
                OpenWorkflow().new_worker(modules=["broken"]).start()
            except WorkerError as error:
                print(error)
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    said = program.stdout.wait_for("AttributeError[^$]*")
    assert "the worker ended with exit code" in program.stdout.text
    assert "os.no_such_thing()" in program.stdout.text, said


def test_a_database_that_is_not_there_is_quoted_without_its_password(
    start: Callable[[Path], Program], write: Write
) -> None:
    program = start(
        write(
            FLOWS.replace(
                "OpenWorkflow()", "OpenWorkflow('postgresql://ada:secret@127.0.0.1:1/db')"
            )
            + """
if __name__ == "__main__":
    from owsuper.errors import WorkerError
    try:
        ow.new_worker().start()
    except WorkerError as error:
        print(error)
"""
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.wait_for("Cannot reach PostgreSQL at 127.0.0.1:1")
    program.stdout.join()
    assert "secret" not in program.stdout.text + program.stderr.text


def test_a_worker_that_is_not_ready_in_time_is_stopped(
    start: Callable[[Path], Program], write: Write
) -> None:
    write(
        FLOWS + 'if "owsuper" in sys.argv[0] or "-m" in sys.argv[0]: __import__("time").sleep(60)',
        "flows.py",
    )
    program = start(
        write(
            """
            from flows import *
            from owsuper.errors import WorkerError
            worker = ow.new_worker()
            try:
                worker.start(timeout="1s")
            except WorkerError as error:
                print(error, worker.running)
            """
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.wait_for("the worker was not ready within 1 s[^$]*False")


def test_workflows_defined_interactively_are_refused(
    spawn: Spawn, environment: dict[str, str]
) -> None:
    script = FLOWS + "ow.new_worker()"
    program = spawn(sys.executable, "-c", script, env=environment)
    assert program.wait(30) == 1
    program.stderr.wait_for("ConfigurationError: the workflows were defined interactively")


def test_a_worker_without_workflows_is_refused() -> None:
    with pytest.raises(RegistrationError, match="no workflow is registered"):
        OpenWorkflow().new_worker()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"processes": 0}, "processes: must be a whole number"),
        ({"concurrency": "many"}, "concurrency: must be a whole number"),
        ({"lease": "soon"}, "lease: must be a duration"),
        ({"procceses": 2}, "new_worker has no setting 'procceses'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: Any, complaint: str) -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def anything(step: Step) -> None: ...

    with pytest.raises(ConfigurationError, match=complaint):
        ow.new_worker(**settings)


def test_settings_are_passed_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = tmp_path / "recorder"
    recorder.write_text('#!/bin/sh\necho "$@" > arguments\nenv > variables\nexit 3\n')
    recorder.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(recorder))
    monkeypatch.chdir(tmp_path)
    ow = OpenWorkflow("postgresql://ada:secret@127.0.0.1:1/db", namespace="n", schema="s")
    worker = ow.new_worker(
        processes=3,
        lease="1m",
        listen=False,
        only="report-*",
        except_=["report-day", "report-year"],
        retain=["30d", "failed=90d"],
        modules=["app.flows", "more"],
    )
    with pytest.raises(WorkerError, match="exit code 3 while starting, without any output"):
        worker.start()
    arguments = (tmp_path / "arguments").read_text()
    assert arguments.startswith("-m owsuper --ready-fd ")
    assert arguments.endswith(" --module app.flows --module more\n")
    assert set((tmp_path / "variables").read_text().splitlines()) >= {
        "OWSUPER_DATABASE_URL=postgresql://ada:secret@127.0.0.1:1/db",
        "OWSUPER_NAMESPACE=n",
        "OWSUPER_SCHEMA=s",
        "OWSUPER_PROCESSES=3",
        "OWSUPER_LEASE=60.0",
        "OWSUPER_LISTEN=false",
        "OWSUPER_ONLY=report-*",
        "OWSUPER_EXCEPT=report-day,report-year",
        "OWSUPER_RETAIN=30d,failed=90d",
    }


@pytest.mark.slow
def test_a_step_may_start_runs_and_wait_for_them(
    start: Callable[[Path], Program], write: Write
) -> None:
    program = start(
        write(
            FLOWS
            + """
@ow.workflow
def nested(step: Step) -> int:
    return step.run("start and wait", lambda: double.run(21).result(30))

@ow.workflow
async def anested(step: AsyncStep) -> int:
    async def start_and_wait() -> int:
        return await (await adouble.arun(4)).aresult(30)
    return await step.run("start and wait", start_and_wait)

if __name__ == "__main__":
    with ow.new_worker(processes=1, concurrency=4):
        print(nested.run().result(30), anested.run().result(30))
"""
        )
    )
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.split() == ["42", "8"]
