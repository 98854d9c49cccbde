"""Programs that do not trace import nothing of OpenTelemetry, though it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from owsuper import OpenWorkflow
from tests.fixtures.processes import ROOT, Spawn
from tests.tracing.conftest import Contexts

LOADED = """
import sys

def loaded() -> list[str]:
    return sorted(
        name for name in sys.modules
        if name.startswith("opentelemetry") or name.startswith("owsuper.tracing.")
    )
"""

FLOWS = (
    LOADED
    + """
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()

@ow.workflow
def kid(step: Step) -> None:
    pass

@ow.workflow
def look(step: Step) -> list[str]:
    step.send_signal("nobody")
    step.run_workflow(kid)
    return step.run("look", loaded)
"""
)

CLIENT = (
    LOADED
    + """
from flows import look, ow

run = look.run()
look.run_many([])
ow.send_signal("nobody")
ow.run_workflow("canceled").cancel()
assert run.result(60) == [], run.result()
print(loaded())
"""
)


@pytest.mark.slow
def test_neither_a_child_process_nor_a_client_imports_it(
    database_url: str, schema: str, spawn: Spawn, spawn_owsuper: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    (tmp_path / "client.py").write_text(CLIENT)
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    spawn_owsuper("--module", "flows.py", "--processes", "1", env=env, cwd=tmp_path)
    client = spawn(sys.executable, "client.py", env=env, cwd=tmp_path)
    assert client.wait() == 0, client.stderr.text
    assert client.stdout.text == "[]\n"


def test_a_run_in_the_process_of_a_test_imports_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    program = """
from flows import loaded, look
from owsuper.testing import run_in_process

assert run_in_process(look).result == []
assert loaded() == []
"""
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )


def test_the_api_alone_stores_nothing(ow: OpenWorkflow, context_of: Contexts) -> None:
    import opentelemetry.trace  # as libraries do, of which the program knows nothing

    assert opentelemetry.trace is not None
    assert context_of(ow.run_workflow("order").id) is None


def test_without_the_library_a_program_works_that_names_it(tmp_path: Path) -> None:
    """Something that is called OpenTelemetry, and is not usable, is logged once."""
    (tmp_path / "flows.py").write_text(FLOWS)
    broken = tmp_path / "broken" / "opentelemetry" / "trace"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("")
    (broken.parent / "__init__.py").write_text("")
    program = """
import opentelemetry.trace
from flows import look
from owsuper.testing import run_in_process

run_in_process(look)
run_in_process(look)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{broken.parents[1]}:{ROOT}"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr.count("no spans are made") == 1
    assert "owsuper[otel]" in done.stderr
