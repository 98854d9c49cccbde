"""What docs/operations.md tells an operator is so."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from owsuper import settings
from owsuper.cli import arguments
from owsuper.settings import SETTING_TYPES
from owsuper.supervisor.exit_status import ExitCode
from tests.docs.conftest import Sandbox
from tests.docs.documents import ROOT, Document

pytestmark = pytest.mark.slow

PAGE = Document("docs/operations.md")
README = Document("README.md")
README.covers("flows")


# --- the unit ------------------------------------------------------------------------------


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str
    parser.read_string(PAGE["unit"])
    return parser


@PAGE.covers("unit")
def test_the_units_command_has_options_that_exist() -> None:
    command, *options = shlex.split(unit()["Service"]["ExecStart"])
    assert Path(command).name == "owsuper"
    parser = arguments.Parser("owsuper")
    arguments.add_settings(parser, SETTING_TYPES)
    read = settings.load(arguments.flags(parser.parse(options)), env={}, cwd=Path("/"))
    assert read.modules == ("app.workflows",)
    stop = float(unit()["Service"]["TimeoutStopSec"])
    assert stop > read.graceful_timeout + 5


def test_the_unit_does_not_restart_what_cannot_work() -> None:
    codes = [int(code) for code in unit()["Service"]["RestartPreventExitStatus"].split()]
    assert codes == [ExitCode.USAGE, ExitCode.IMPORT_ERROR]


def test_the_unit_of_the_document_is_the_one_in_the_repository() -> None:
    assert (ROOT / "systemd" / "owsuper.service").read_text() == PAGE["unit"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    executable = shlex.split(unit()["Service"]["ExecStart"])[0]
    text = PAGE["unit"].replace(executable, sys.executable).replace("User=app", "User=root")
    path = tmp_path / "owsuper.service"
    path.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60
    )
    said = verified.stdout + verified.stderr
    assert (verified.returncode, "owsuper.service" in said) == (0, False), said


@PAGE.covers("systemctl")
def test_the_commands_for_systemd_are_about_that_unit() -> None:
    commands = [shlex.split(line, comments=True) for line in PAGE["systemctl"].splitlines()]
    assert [command[0] for command in commands] == ["systemctl"] * 3 + ["journalctl"]
    assert commands[0][1:] == ["daemon-reload"]
    assert all("owsuper" in command for command in commands[1:])
    assert "[Install]" in PAGE["unit"]  # without which enable has nothing to do


# --- the rest ------------------------------------------------------------------------------


@PAGE.covers("queue")
def test_the_queue_is_shown(connected: Sandbox, conn: psycopg.Connection, schema: str) -> None:
    connected.write("flows.py", README["flows"])
    connected.run("python -c 'from flows import *; send_welcome_email.run(Welcome(7))'")
    rows = conn.execute(PAGE["queue"].replace("openworkflow.", f"{schema}.").encode()).fetchall()
    assert [row[:3] for row in rows] == [("send-welcome-email", "pending", 1)]


def test_the_exit_codes_are_those_of_the_command() -> None:
    section = PAGE.text.partition("| Exit code")[2]
    assert [int(code) for code in re.findall(r"^\| (\d) \|", section, re.M)] == list(ExitCode)


def test_a_second_interrupt_does_not_wait_for_what_runs(connected: Sandbox) -> None:
    connected.write(
        "slow.py",
        "import time\nfrom pathlib import Path\nfrom owsuper import OpenWorkflow, Step\n"
        "ow = OpenWorkflow()\n@ow.workflow\ndef slow(step: Step) -> None:\n"
        "    step.run('sleep', sleep)\n"
        "def sleep() -> None:\n    print('asleep', flush=True)\n    time.sleep(60)\n",
    )
    worker = connected.worker("owsuper --processes 1 --module slow.py")
    connected.run("python -c 'from slow import slow; slow.run()'")
    worker.stdout.wait_for("asleep")
    worker.signal(signal.SIGINT)
    worker.stderr.wait_for("drain")
    worker.signal(signal.SIGINT)
    assert worker.wait(15) == 0


def test_every_block_of_the_document_is_executed() -> None:
    assert PAGE.unexecuted() == []
