"""The log of a whole worker: the application may configure logging, and streams may be lost."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import sys
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.processes import Spawn, owsuper_command
from tests.supervisor.worker import IN_TERMINAL, Begin, Worker

FLOWS = """
import logging, logging.config, os, sys
from owsuper import OpenWorkflow, RetryPolicy

ow = OpenWorkflow()

PLAIN = {"format": "APP %(name)s %(levelname)s %(message)s"}
STDERR = {"class": "logging.StreamHandler", "formatter": "plain"}
CONFIG = {"version": 1, "formatters": {"plain": PLAIN}, "handlers": {"stderr": STDERR}}
ROOT = CONFIG | {"root": {"handlers": ["stderr"], "level": "WARNING"}}

def configure():
    HERE

def fail():
    logging.getLogger("shop").warning("about to fail")
    raise ValueError("no")

@ow.workflow("doomed")
def doomed(step):
    if "step" in WHEN:
        configure()
    step.run("fail", fail, retry=RetryPolicy(maximum_attempts=1))

if "import" in WHEN:
    configure()
if "hook" in WHEN:
    ow.on_child_start(configure)
"""

BASIC = "logging.basicConfig(format='APP %(name)s %(levelname)s %(message)s', stream=sys.stderr)"
DICT = "logging.config.dictConfig(ROOT)"
FILE = "logging.config.fileConfig('logging.ini')"
INI = """
[loggers]
keys=root
[handlers]
keys=stderr
[formatters]
keys=plain
[logger_root]
level=WARNING
handlers=stderr
[handler_stderr]
class=StreamHandler
formatter=plain
args=()
[formatter_plain]
format=APP %(name)s %(levelname)s %(message)s
"""

OURS = (
    r"^\S+Z WARNING \d+ owsuper\.child: step failed run_id={run} .*$",
    r"^\S+Z ERROR \d+ owsuper\.child: run failed run_id={run} .*$",
)


def doomed(begin: Begin, directory: Path, how: str, when: str, *options: str) -> tuple[Worker, str]:
    """The log of a worker after a run that failed. ``how``: what configures logging."""
    (directory / "logging.ini").write_text(INI)
    code = f"WHEN = {when!r}\n" + FLOWS.replace("HERE", how)
    (directory / "flows.py").write_text(code)
    worker = begin("--processes=1", *options)
    run = worker.start("doomed")
    for line in OURS:
        worker.log.wait_for(line.format(run=run))
    assert worker.stop() == 0
    worker.program.end()
    return worker, worker.log.text


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    "how", [BASIC, DICT, FILE], ids=["basicConfig", "dictConfig", "fileConfig"]
)
@pytest.mark.parametrize("when", ["import", "hook"])
def test_the_applications_configuration_rules_its_lines_and_ours_stay(
    begin: Begin, tmp_path: Path, how: str, when: str
) -> None:
    _, log = doomed(begin, tmp_path, how, when)
    assert re.findall(r"^.*about to fail.*$", log, re.M) == ["APP shop WARNING about to fail"]
    assert "APP owsuper" not in log  # no line twice


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("how", [DICT, FILE], ids=["dictConfig", "fileConfig"])
def test_a_configuration_that_a_step_makes_loses_no_line_of_ours(
    begin: Begin, tmp_path: Path, how: str
) -> None:
    _, log = doomed(begin, tmp_path, how, "step")
    assert "APP shop WARNING about to fail" in log


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_without_a_configuration_the_applications_lines_are_in_the_workers_log(
    begin: Begin, tmp_path: Path, preload: str
) -> None:
    how = "logging.getLogger('shop').info('while importing')"
    _, log = doomed(begin, tmp_path, how, "import", preload)
    assert re.search(r"^\S+Z INFO \d+ shop: while importing$", log, re.M)
    assert len(re.findall(r"^\S+Z WARNING \d+ shop: about to fail run_id=\S+ .*$", log, re.M)) == 1


def test_an_application_may_take_over_our_lines(begin: Begin, tmp_path: Path) -> None:
    config = "ROOT | {'loggers': {'owsuper': {'level': 'ERROR', 'propagate': True}}}"
    code = "WHEN = 'import'\n" + FLOWS.replace("HERE", f"logging.config.dictConfig({config})")
    (tmp_path / "flows.py").write_text(code)
    worker = begin("--processes=1")
    worker.start("doomed")
    worker.log.wait_for(r"^APP owsuper\.child ERROR ")
    assert worker.stop() == 0
    assert "Z ERROR" not in worker.log.text


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("when", ["import", "hook", "step"])
def test_an_application_that_drops_its_streams_is_served(
    begin: Begin, tmp_path: Path, when: str
) -> None:
    doomed(begin, tmp_path, "sys.stdout = sys.stderr = sys.stdin = None", when)


# --- the streams of the worker ---------------------------------------------------------------

SERVED = """
from owsuper import OpenWorkflow
ow = OpenWorkflow()
@ow.workflow("greet")
def greet(step):
    return step.run("answer", lambda: 42)
"""


@pytest.fixture
def serve(tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection) -> Path:
    (tmp_path / "flows.py").write_text(SERVED)
    return tmp_path


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


COMMAND = shlex.join([*owsuper_command(), "--module=flows", "--processes=1", "--log-level=debug"])


def completed(conn: psycopg.Connection, schema: str, run: str) -> bool:
    """Whether the run has been completed; waits for that on the server."""
    conn.execute(b"SET statement_timeout = '60s'")
    conn.execute(
        f"""DO $$ BEGIN LOOP
            EXIT WHEN (SELECT status FROM "{schema}".workflow_runs WHERE id = '{run}')
                IN ('completed', 'failed');
            PERFORM pg_sleep(0.01); COMMIT;
        END LOOP; END $$""".encode()
    )
    query = f"SELECT status FROM \"{schema}\".workflow_runs WHERE id = '{run}'"
    [(status,)] = conn.execute(query.encode()).fetchall()
    return status == "completed"


def enqueue(conn: psycopg.Connection, schema: str, run: str) -> None:
    conn.execute(
        f'INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status, config,'
        " attempts, available_at, created_at, updated_at) VALUES"
        f" ('default', '{run}', 'greet', 'pending', '{{}}', 0, now(), now(), now())".encode()
    )


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_worker_whose_streams_are_closed_serves(
    spawn: Spawn,
    serve: Path,
    env: dict[str, str],
    conn: psycopg.Connection,
    schema: str,
    closed: str,
) -> None:
    program = spawn("sh", "-c", f"exec {COMMAND} {closed}", cwd=serve, env=env)
    enqueue(conn, schema, "a")
    assert completed(conn, schema, "a")
    program.terminate()
    assert program.wait() == 0


def test_a_worker_whose_log_nobody_reads_serves_and_stops(
    spawn: Spawn, serve: Path, env: dict[str, str], conn: psycopg.Connection, schema: str
) -> None:
    os.mkfifo(serve / "log")
    reader = os.open(serve / "log", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(serve / "log", os.O_WRONLY)
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, b"x")
    except BlockingIOError:
        os.close(writer)
    program = spawn("sh", "-c", f"exec {COMMAND} 2>log", cwd=serve, env=env)
    enqueue(conn, schema, "a")
    assert completed(conn, schema, "a")
    program.terminate()
    assert program.wait() == 0
    os.close(reader)


def test_a_hup_while_the_terminal_is_open_reloads(
    spawn: Spawn, serve: Path, env: dict[str, str]
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", IN_TERMINAL, os.ttyname(theirs), *shlex.split(COMMAND)]
    program = spawn(*command, cwd=serve, env=env)
    read_until(ours, b": ready: ")
    os.close(theirs)
    program.signal(signal.SIGHUP)
    read_until(ours, b": reloaded: ")
    program.terminate()
    assert program.wait() == 0
    os.close(ours)


def read_until(descriptor: int, words: bytes) -> None:
    text = b""
    while words not in text:
        text += os.read(descriptor, 4096)


def test_a_worker_whose_terminal_is_closed_drains(
    spawn: Spawn, serve: Path, env: dict[str, str], conn: psycopg.Connection, schema: str
) -> None:
    """As an emulator does when its window is closed: the processes of the session get a HUP."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", IN_TERMINAL, os.ttyname(theirs), *shlex.split(COMMAND)]
    program = spawn(*command, cwd=serve, env=env)
    enqueue(conn, schema, "a")
    assert completed(conn, schema, "a")
    os.close(theirs)
    os.close(ours)
    assert program.wait() == 0


LOG_CONFIG = """
[formatters.app]
"()" = "logging.Formatter"
fmt = "APP %(name)s %(run_id)s %(message)s"
defaults = { run_id = "-" }
[handlers.stderr]
class = "logging.StreamHandler"
formatter = "app"
[root]
handlers = ["stderr"]
level = "INFO"
[loggers.owsuper]
propagate = true
handlers = []
"""


def test_a_file_configures_the_lines_of_all_processes(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "logging.toml").write_text(LOG_CONFIG)
    (tmp_path / "flows.py").write_text("WHEN = ''\n" + FLOWS.replace("HERE", "pass"))
    worker = begin("--processes=1", "--log-config=logging.toml", ready=False)
    worker.log.wait_for(r"^APP owsuper\.supervisor - ready: ")
    run = worker.start("doomed")
    worker.log.wait_for(f"^APP owsuper.child {run} run failed$")
    assert worker.stop() == 0
    worker.program.end()
    assert f"APP shop {run} about to fail\n" in worker.log.text
    assert " INFO " not in worker.log.text  # no line of ours in the other format


def test_json_is_for_all_lines(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text("WHEN = ''\n" + FLOWS.replace("HERE", "pass"))
    worker = begin("--processes=1", "--log-format=json", ready=False)
    worker.log.wait_for(r'"message":"ready: ')
    run = worker.start("doomed")
    worker.log.wait_for(r'"message":"run failed"')
    assert worker.stop() == 0
    worker.program.end()
    lines = [json.loads(line) for line in worker.log.text.splitlines()]
    [line] = [each for each in lines if each["logger"] == "shop"]
    assert line["pid"] != next(each["pid"] for each in lines if "supervisor" in each["logger"])
    assert (line["run_id"], line["workflow"], line["step"]) == (run, "doomed", "fail")
