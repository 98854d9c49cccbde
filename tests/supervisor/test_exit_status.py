"""Wait statuses in words, and exit codes."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from owsuper.supervisor.exit_status import Evidence, ExitCode, describe_status, is_exiting


def status_of_a_child_that(exits: int | None = None, dies_of: int | None = None) -> int:
    pid = os.fork()
    if pid == 0:
        if dies_of is not None:
            signal.signal(signal.SIGCONT, signal.SIG_DFL)
            os.kill(os.getpid(), dies_of)
        os._exit(exits or 0)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "signal SIGKILL"), (signal.SIGTERM, "signal SIGTERM")],
)
def test_a_signal_is_named(number: int, words: str) -> None:
    status = status_of_a_child_that(dies_of=number)
    assert describe_status(status) == words
    assert Evidence(1, status).signal_name == words.removeprefix("signal ")
    assert Evidence(1, status).exit_code is None


def test_a_signal_without_a_name_is_numbered() -> None:
    status = status_of_a_child_that(dies_of=signal.SIGRTMIN + 5)
    assert describe_status(status) == f"signal {signal.SIGRTMIN + 5}"


def test_an_exit_code_is_described() -> None:
    status = status_of_a_child_that(exits=7)
    assert describe_status(status) == "exit code 7"
    assert Evidence(1, status).exit_code == 7
    assert Evidence(1, status).signal_name is None


def test_a_missing_wait_status_is_an_unknown_cause() -> None:
    assert str(Evidence(1)) == "cause unknown"


def test_exit_codes_are_part_of_the_command_line_and_do_not_change() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "CLEAN": 0,
        "ERROR": 1,
        "USAGE": 2,
        "IMPORT_ERROR": 3,
        "DATABASE_UNREACHABLE": 4,
        "CHILDREN_FAILED": 5,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_zombie_and_a_process_that_is_gone_are_exiting_a_living_process_is_not() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    assert not is_exiting(pid)
    os.close(writer)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert is_exiting(pid)  # a zombie
    os.waitpid(pid, 0)
    assert is_exiting(pid)  # gone
