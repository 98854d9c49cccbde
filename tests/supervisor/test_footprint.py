"""A supervisor runs all the time and does little, so it stays small and loads no user code."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.processes import Spawn

# CPython 3.15 takes 7 MB more for the same modules (measured with 3.15.2 and 3.13.0).
MEMORY_LIMIT_MB = 52 if sys.version_info >= (3, 15) else 45

APP = """
from owsuper import OpenWorkflow

ow = OpenWorkflow()

@ow.workflow("greet")
def greet(step, input):
    return step.run("answer", lambda: 42)
"""

# Runs the command, then prints whether the application is among its modules, and its memory.
WORKER = """
import sys
from pathlib import Path
from owsuper.cli import main

code = main(sys.argv[1:])
print("application loaded:", "app" in sys.modules)
print(Path("/proc/self/status").read_text())
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc")
def test_a_supervisor_that_has_dispatched_a_run_is_small_and_has_not_loaded_the_application(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    (tmp_path / "app.py").write_text(APP)
    argv = ["--module", "app.py", "--database-url", database_url, "--schema", schema]
    argv += ["--processes", "1", "--log-level", "debug"]
    program = spawn(sys.executable, "-c", WORKER, *argv, cwd=tmp_path)
    program.stderr.wait_for("ready: ")
    conn.execute(
        f'INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status, config,'
        " attempts, available_at, created_at, updated_at) VALUES"
        " ('default', 'a', 'greet', 'pending', '{}', 0, now(), now(), now())".encode()
    )
    program.stderr.wait_for("run_id=a ")
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    program.end()
    assert "application loaded: False\n" in program.stdout.text
    peak = re.search(r"^VmHWM:\s+(\d+) kB", program.stdout.text, re.MULTILINE)
    assert peak is not None
    assert int(peak[1]) / 1024 <= MEMORY_LIMIT_MB
