"""The fixtures that other tests stand on: real processes, and a network that breaks."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.fixtures.processes import Spawn

LEAVES_AN_ORPHAN = """
import os, sys, time
if not os.fork():
    os.setsid()
    if not os.fork():
        os.close(1), os.close(2)
        time.sleep(1000)
    os._exit(0)
os.wait()
print("out")
print("err: it forked", file=sys.stderr)
sys.exit(3)
"""


def test_an_orphan_in_a_session_of_its_own_does_not_outlive_the_test(spawn: Spawn) -> None:
    program = spawn(sys.executable, "-c", LEAVES_AN_ORPHAN)
    assert program.stderr.wait_for(r"^err: it (\w+)").group(1) == "forked"
    assert program.wait() == 3
    program.stdout.join()
    assert program.stdout.text == "out\n"
    [orphan] = program.descendants()
    program.end()
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)


def test_the_signal_that_ended_a_program_is_its_negative_exit_code(spawn: Spawn) -> None:
    program = spawn(sys.executable, "-c", "import time; print('up'); time.sleep(1000)")
    program.stdout.wait_for("up")
    assert program.running
    program.kill()
    assert program.wait() == -signal.SIGKILL
    assert not program.running


def test_waiting_in_vain_shows_what_the_program_said(spawn: Spawn) -> None:
    program = spawn(sys.executable, "-c", "print('something else')")
    with pytest.raises(AssertionError, match=r"the stream ended without 'ready'.*\nsomething else"):
        program.stdout.wait_for("ready")
