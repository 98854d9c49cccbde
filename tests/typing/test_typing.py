"""The public API under mypy and pyright: sample.py is clean, mistakes.py is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MYPY = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
PYRIGHT = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]


def mypy(file: str) -> dict[int, str]:
    """The errors of mypy in ``file``, by line."""
    checked = subprocess.run(
        [*MYPY, str(HERE / file)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    found = re.findall(rf"^.*{file}:(\d+): error: (.*)$", checked.stdout, re.MULTILINE)
    return {int(line): message for line, message in found}


def pyright(file: str) -> dict[int, str]:
    """The errors of pyright in ``file``, by line."""
    pytest.importorskip("pyright")
    checked = subprocess.run(
        [*PYRIGHT, str(HERE / file)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    return {
        each["range"]["start"]["line"] + 1: each["message"]
        for each in json.loads(checked.stdout)["generalDiagnostics"]
        if each["severity"] == "error"
    }


Check = Callable[[str], dict[int, str]]

checkers = pytest.mark.parametrize("check", [mypy, pyright], ids=["mypy", "pyright"])


@checkers
def test_the_public_api_keeps_the_types_of_workflows_and_steps(check: Check) -> None:
    assert check("sample.py") == {}


@checkers
def test_every_mistake_is_reported_and_nothing_else(check: Check) -> None:
    lines = (HERE / "mistakes.py").read_text().splitlines()
    mistakes = {number for number, line in enumerate(lines, 1) if line.endswith("# MISTAKE")}
    assert set(check("mistakes.py")) == mistakes
