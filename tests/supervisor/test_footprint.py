"""A supervisor is there all the time and does little; it must not carry what it never uses."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psycopg

from tests.fixtures.processes import Spawn

APP = """
from owsuper import OpenWorkflow

ow = OpenWorkflow()

@ow.workflow("greet")
def greet(step, input):
    return step.run("answer", lambda: 42)
"""

# Runs the command, then says what of these packages and modules it has come to import.
WORKER = """
import sys
from owsuper.cli import main
from owsuper.postponed import is_postponed

code = main(sys.argv[1:])
carried = [name for name in ("asyncio", "psycopg", "ssl") if not is_postponed(name)]
costly = ("hashlib", "owsuper.client.app", "owsuper.core.codec", "psycopg.connection")
carried += [name for name in costly if name in sys.modules]
print("carried:", *carried)
sys.exit(code)
"""


def test_a_supervisor_that_has_worked_has_imported_only_what_it_needs(
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
        " ('default', 'a', 'greet', 'pending', '{{}}', 0, now(), now(), now())".encode()
        .replace(b"{{}}", b"{}")
    )  # fmt: skip
    program.stderr.wait_for("run_id=a ")
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    program.end()
    assert program.stdout.text == "carried:\n"
