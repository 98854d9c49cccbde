"""The plugin for pytest, in projects that do not use it."""

from __future__ import annotations

import subprocess
import sys


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
