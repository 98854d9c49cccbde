"""What is called in another process leaves nothing here but its error."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from owsuper.errors import MigrationError, OwsuperError

CALL = """
import os, signal, sys
from owsuper import errors
from owsuper.cli import forked_call

def what():
    {what}

{before}
try:
    forked_call.call(what)
    print("returned")
except errors.OwsuperError as error:
    print(type(error).__name__, error)
"""


def call(what: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """In a fresh interpreter: this one has threads."""
    script = CALL.format(what=what, before=before)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )


def test_the_function_runs_in_another_process() -> None:
    assert call("os.chdir('/'); sys.modules.clear()").stdout == "returned\n"


def test_an_owsuper_error_is_raised_with_its_class_and_message() -> None:
    done = call("raise errors.MigrationError('the tables\\nare missing')")
    assert done.stdout == f"{MigrationError.__name__} the tables\nare missing\n"
    assert done.stderr == ""


def test_any_other_error_leaves_its_traceback() -> None:
    done = call("1 / 0")
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout.startswith(OwsuperError.__name__)


def test_a_killed_fork_is_an_error() -> None:
    done = call("os.kill(os.getpid(), signal.SIGKILL)")
    assert f"code {-signal.SIGKILL}" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_only_the_waiting_process(number: signal.Signals) -> None:
    sign = int(number)
    before = f"signal.signal({sign}, lambda *_: print('heard'))"
    done = call(f"os.kill(os.getpid(), {sign}); os.kill(os.getppid(), {sign})", before)
    assert done.stdout == "heard\nreturned\n"


def test_no_descriptor_is_left_over() -> None:
    before = "there = os.listdir('/dev/fd')"
    done = call("pass", before + "\nimport atexit; atexit.register(lambda: "
                "print(len(os.listdir('/dev/fd')) - len(there)))")  # fmt: skip
    assert done.stdout == "returned\n0\n"
