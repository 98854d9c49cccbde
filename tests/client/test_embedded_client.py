"""Programs without a database URL: client and worker meet on the embedded server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.client.test_worker import FLOWS, wait_until_gone
from tests.fixtures.processes import Spawn


@pytest.mark.slow
def test_client_and_worker_find_the_same_server_and_leave_nothing_running(
    spawn: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    (tmp_path / "program.py").write_text(
        """
import asyncio
from flows import *

handle = double.run(21)
os.chdir("/")
with ow.new_worker(processes=1) as worker:
    print(handle.result(30))
    async def main():
        return await (await adouble.arun(4)).aresult(30)
    print(asyncio.run(main()))
"""
    )
    program = spawn(sys.executable, "program.py", cwd=tmp_path)
    assert program.wait(90) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.split() == ["42", "8"]
    assert program.stderr.text.count("using the embedded PostgreSQL") == 1
    for file in tmp_path.rglob("postmaster.pid"):
        wait_until_gone(int(file.read_text().split()[0]))


@pytest.mark.slow
def test_an_async_program_starts_the_server_beside_its_event_loop(
    spawn: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(
        """
import asyncio
from owsuper import OpenWorkflow

ow = OpenWorkflow()

async def main():
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)
    ticking = asyncio.create_task(tick())
    handle = await ow.arun_workflow("later")
    print(await handle.astatus(), ticks > 5)
    ticking.cancel()
    await ow.aclose()

asyncio.run(main())
"""
    )
    program = spawn(sys.executable, "-W", "error", "program.py", cwd=tmp_path)
    assert program.wait(90) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.split() == ["pending", "True"]


@pytest.mark.slow
def test_tables_are_made_in_any_schema_of_the_embedded_server(spawn: Spawn, tmp_path: Path) -> None:
    """Also for a client that knows the server by its URL, as in the processes of a worker."""
    (tmp_path / "program.py").write_text(
        """
from owsuper import OpenWorkflow

ow = OpenWorkflow(schema="one")
print(ow.run_workflow("x").status())
same_server = OpenWorkflow(ow._database.session().url, schema="two")
print(same_server.run_workflow("x").status())
"""
    )
    program = spawn(sys.executable, "program.py", cwd=tmp_path)
    assert program.wait(90) == 0, program.stderr.text
    program.stdout.join()
    assert program.stdout.text.split() == ["pending", "pending"]


def test_a_database_url_of_another_kind_is_no_reason_for_silence(
    spawn: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(
        "from owsuper import OpenWorkflow\nprint(OpenWorkflow().run_workflow('x').status())\n"
    )
    env = {"DATABASE_URL": "sqlite:///site.db"}
    program = spawn(sys.executable, "program.py", cwd=tmp_path, env=env)
    assert program.wait(90) == 0, program.stderr.text
    program.stderr.join()
    assert "DATABASE_URL is not the URL of a PostgreSQL server" in program.stderr.text
    assert "using the embedded PostgreSQL" in program.stderr.text


@pytest.mark.slow
def test_a_forked_child_becomes_a_user_of_the_server_itself(spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        """
import os, sys, warnings
warnings.simplefilter("ignore")
from owsuper import OpenWorkflow

ow = OpenWorkflow()
ow.run_workflow("parent")
reader, writer = os.pipe()
if os.fork():
    os._exit(0)
os.close(writer)
os.read(reader, 1)  # the end of the parent
print(ow.run_workflow("child").status())
"""
    )
    program = spawn(sys.executable, "program.py", cwd=tmp_path)
    program.stdout.wait_for("^pending$", timeout=60)
