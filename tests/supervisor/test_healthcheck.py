"""``owsuper healthcheck`` beside real workers: what it sees, and how it ends."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from owsuper.ipc import health
from owsuper.supervisor.exit_status import ExitCode
from tests.cli.running import Result, port
from tests.fixtures.processes import Spawn
from tests.fixtures.proxy import Proxy
from tests.supervisor.worker import FLOWS, SLOW_SECOND_CHILD, Begin, Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers can be asked on Linux")

WAIT_FOR_IMPORT = """
from pathlib import Path
import time
while not Path("importable").exists():
    time.sleep(0.01)
"""

Check = Callable[..., Result]


@pytest.fixture
def check(spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str) -> Check:
    """``owsuper healthcheck`` of one worker, with these options."""

    def check(*options: str, of: Worker, url: str = database_url, schema: str = schema) -> Result:
        program = spawn_owsuper(
            *("healthcheck", "--pid", str(of.program.pid), *options),
            env={"OWSUPER_DATABASE_URL": url, "OWSUPER_SCHEMA": schema},
            cwd=tmp_path,
        )
        code = program.wait()
        program.end()
        return Result(code, program.stdout.text, program.stderr.text)

    return check


def document(result: Result) -> dict[str, Any]:
    return {each["name"].split()[0]: each for each in json.loads(result.stdout)["checks"]}


def await_answer_of(worker: Worker) -> None:
    give_up_at = time.monotonic() + 60
    while not health.ask_workers(30, worker.program.pid):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)  # nothing tells that a process listens


def test_a_worker_that_takes_runs_on_complete_tables_is_healthy(
    begin: Begin, check: Check, schema: str
) -> None:
    worker = begin()
    result = check(of=worker)
    assert result.code == 0
    assert result.stdout.splitlines() == [
        f"worker {worker.program.pid}: ok: 0/2 busy",
        "database: ok: it answers",
        f'tables: ok: they are up to date in schema "{schema}"',
    ]
    assert result.stderr == ""


def test_programs_get_one_document(begin: Begin, check: Check, schema: str) -> None:
    worker = begin()
    result = check("--json", "--ready", of=worker)
    assert (result.code, json.loads(result.stdout)["healthy"]) == (0, True)
    assert document(result)["worker"] == {
        "name": f"worker {worker.program.pid}",
        "healthy": True,
        "detail": "0/2 busy",
        "worker": {
            "pid": worker.program.pid,
            "status": "0/2 busy",
            "takes_runs": True,
            "children": 2,
            "modules": ["flows"],
            "schema": schema,
            "reloads": 0,
            "reloading": False,
            "reload_failure": None,
        },
    }


def test_a_worker_that_starts_is_alive_and_not_ready(
    begin: Begin, check: Check, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(WAIT_FOR_IMPORT + FLOWS)
    worker = begin(ready=False)
    await_answer_of(worker)
    alive, ready = check("--live", of=worker), check("--ready", of=worker)
    assert (alive.code, alive.stdout) == (0, f"worker {worker.program.pid}: ok: starting\n")
    assert (ready.code, "it takes no runs: starting" in ready.stdout) == (1, True)
    (tmp_path / "importable").touch()
    worker.log.wait_for(": ready: ")
    assert check("--ready", of=worker).code == 0


def test_a_worker_with_some_of_its_first_children_is_not_ready(
    begin: Begin, check: Check, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(SLOW_SECOND_CHILD + FLOWS)
    worker = begin(ready=False)
    worker.log.wait_for("child ready")
    assert check("--ready", of=worker).code == 1
    (tmp_path / "go").touch()
    worker.log.wait_for(": ready: ")
    assert check("--ready", of=worker).code == 0


def test_a_worker_whose_loop_stands_still_is_not_alive(begin: Begin, check: Check) -> None:
    worker = begin()
    worker.program.signal(signal.SIGSTOP)
    result = check("--live", "--timeout", "200ms", of=worker)
    assert (result.code, "it does not answer in time" in result.stdout) == (1, True)
    worker.program.signal(signal.SIGCONT)
    assert check("--live", of=worker).code == 0


def test_a_worker_that_waits_for_the_database_is_alive_and_not_ready(
    begin: Begin, check: Check, proxy: Proxy
) -> None:
    worker = begin(url=proxy.url)
    proxy.cut()
    worker.log.wait_for("the claiming connection is down")
    alive, ready = check("--live", of=worker), check("--ready", of=worker)
    assert (alive.code, ready.code) == (0, 1)
    assert "it takes no runs: no database" in ready.stdout
    proxy.restore()


def test_a_worker_that_drains_is_alive_and_not_ready(
    begin: Begin, check: Check, tmp_path: Path
) -> None:
    worker = begin()
    worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.terminate()
    worker.log.wait_for("draining")
    alive, ready = check("--live", of=worker), check("--ready", of=worker)
    assert (alive.code, ready.code) == (0, 1)
    assert "draining 1/2 busy" in ready.stdout
    (tmp_path / "go").touch()
    assert worker.program.wait() == 0


@pytest.mark.parametrize("level", ["--live", "--ready"])
def test_a_worker_that_ended_is_not_alive(begin: Begin, check: Check, level: str) -> None:
    worker = begin()
    worker.program.kill()
    worker.program.wait()
    result = check(level, of=worker)
    expected = f"worker {worker.program.pid}: FAILED: this is no worker's pid\n"
    assert (result.code, result.stdout) == (1, expected)


def test_missing_tables_are_named(begin: Begin, check: Check) -> None:
    result = check("--schema", "nowhere", "--json", of=begin())
    assert result.code == ExitCode.ERROR
    assert document(result)["worker"]["healthy"]
    assert document(result)["database"]["healthy"]
    assert not document(result)["tables"]["healthy"]
    assert 'schema "nowhere"' in document(result)["tables"]["detail"]


def test_the_tables_are_those_of_the_worker(begin: Begin, check: Check, schema: str) -> None:
    """The application may name another schema than the environment of the health check."""
    worker = begin()
    result = check("--json", of=worker, schema="nowhere")
    assert (result.code, f'"{schema}"' in document(result)["tables"]["detail"]) == (0, True)


def test_a_database_that_refuses_to_connect_is_unhealthy(begin: Begin, check: Check) -> None:
    with port(listening=False) as number:
        result = check("--json", of=begin(), url=f"postgresql://127.0.0.1:{number}/app")
    assert result.code == ExitCode.ERROR
    assert not document(result)["database"]["healthy"]


def test_a_database_that_says_nothing_is_not_waited_for(begin: Begin, check: Check) -> None:
    with port(listening=True) as number:
        url = f"postgresql://127.0.0.1:{number}/app"
        result = check("--json", "--timeout", "300ms", of=begin(), url=url)
    assert result.code == ExitCode.ERROR
    assert document(result)["database"]["detail"] == "it does not answer within 0.3 s"


def test_without_a_url_only_the_worker_is_asked(begin: Begin, check: Check) -> None:
    result = check(of=begin(), url="")
    assert result.code == 0
    assert "database: ok: not asked: set OWSUPER_DATABASE_URL" in result.stdout
