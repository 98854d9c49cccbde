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

from owsuper import setting_sources
from owsuper.cli import COMMANDS, arguments, reload
from owsuper.settings import SETTING_TYPES
from owsuper.supervisor.exit_status import ExitCode
from tests.docs.conftest import Sandbox
from tests.docs.documents import ROOT, Document

pytestmark = pytest.mark.slow

PAGE = Document("docs/operations.md")
README = Document("README.md")
README.covers("flows")


# --- the unit ------------------------------------------------------------------------------


UNITS = ("owsuper.service", "owsuper@.service")
CAN_VERIFY = shutil.which("systemd-analyze") is not None


def unit(name: str = "owsuper.service") -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str
    parser.read_string((ROOT / "systemd" / name).read_text())
    return parser


def systemd_version() -> int:
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout
    return int(said.split()[1])


@pytest.mark.parametrize("name", UNITS)
def test_the_commands_of_the_units_have_options_that_exist(name: str) -> None:
    command, *options = shlex.split(unit(name)["Service"]["ExecStart"])
    assert Path(command).name == "owsuper"
    parser = arguments.Parser("owsuper")
    arguments.add_settings(parser, SETTING_TYPES)
    read = setting_sources.load(arguments.flags(parser.parse(options)), env={}, cwd=Path("/"))
    assert read.modules == (("app.workflows",) if name == "owsuper.service" else ())
    stop = float(unit(name)["Service"]["TimeoutStopSec"])
    assert stop > read.graceful_timeout + 5


@pytest.mark.parametrize("name", UNITS)
def test_a_reload_of_the_units_waits_for_its_end(name: str) -> None:
    """systemd waits for no longer than for a start, so the command must not end before."""
    service = unit(name)["Service"]
    command, *options = shlex.split(service["ExecReload"].replace("$MAINPID", "4711"))
    assert command == shlex.split(service["ExecStart"])[0]
    assert_is_a_command(["owsuper", *options])
    assert service["ReloadSignal"] == "SIGCONT"
    assert float(service["TimeoutStartSec"]) < reload.TIMEOUT


@pytest.mark.parametrize("name", UNITS)
def test_the_units_do_not_restart_what_cannot_work(name: str) -> None:
    codes = [int(code) for code in unit(name)["Service"]["RestartPreventExitStatus"].split()]
    assert codes == [ExitCode.USAGE, ExitCode.IMPORT_ERROR]
    assert unit(name)["Unit"]["StartLimitIntervalSec"] == "0"  # else five times, and then never


@pytest.mark.parametrize("name", UNITS)
def test_a_reload_of_the_units_finds_the_directory_by_its_name(name: str) -> None:
    """systemd sets no PWD, and enters the directory behind a symbolic link."""
    service = unit(name)["Service"]
    assert service["Environment"] == f"PWD={service['WorkingDirectory']}"


def test_the_template_differs_from_the_unit_in_its_instance_alone() -> None:
    one, template = (unit(name) for name in UNITS)
    differences = {
        f"{section}: {key}"
        for section in one.sections()
        for key in one[section]
        if one[section][key] != template[section].get(key)
    }
    assert differences == {
        "Unit: Description",
        "Service: EnvironmentFile",
        "Service: ExecStart",
        "Service: StateDirectory",
    }
    assert [template[section].keys() == one[section].keys() for section in one.sections()]
    assert template["Service"]["EnvironmentFile"] == "/etc/owsuper/%i.env"


@PAGE.covers("older-systemd")
@pytest.mark.skipif(not CAN_VERIFY, reason="there is no systemd-analyze")
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, name: str, older: bool) -> None:
    """Nor with the drop-in for older versions, which older versions need."""
    if not older and systemd_version() < 253:
        pytest.skip("this systemd does not know Type=notify-reload")
    instance = name.replace("@", "@mails")
    text = (ROOT / "systemd" / name).read_text()
    executable = shlex.split(unit(name)["Service"]["ExecStart"])[0]
    text = text.replace(executable, sys.executable).replace("User=app", "User=root")
    if older:  # verify reads no drop-in of a file that it is given
        text = text.replace("Type=notify-reload\n", PAGE["older-systemd"].partition("\n")[2])
        text = text.replace("ReloadSignal=SIGCONT\n", "")  # a warning, of which the page tells
    path = tmp_path / instance
    path.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60
    )
    said = verified.stdout + verified.stderr
    assert (verified.returncode, "owsuper" in said) == (0, False), said


@pytest.mark.skipif(not CAN_VERIFY, reason="there is no systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_the_units_expose_little(name: str, tmp_path: Path) -> None:
    """The scale of systemd-analyze security goes from 0 (nothing) to 10; below 2 is low."""
    if systemd_version() < 250:
        pytest.skip("this systemd cannot judge a file")
    path = tmp_path / name.replace("@", "@mails")
    path.write_text((ROOT / "systemd" / name).read_text())
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert judged.returncode == 0, judged.stdout[-500:] + judged.stderr
    assert re.search(r"Overall exposure level for owsuper.*: 1\.\d OK", judged.stdout)


@PAGE.covers("systemctl")
def test_the_commands_for_systemd_are_about_that_unit() -> None:
    commands = [shlex.split(line, comments=True) for line in PAGE["systemctl"].splitlines()]
    assert [command[0] for command in commands] == ["systemctl"] * 3 + ["journalctl"]
    assert commands[0][1:] == ["daemon-reload"]
    assert all("owsuper" in command for command in commands[1:])
    assert "Install" in unit()  # without which enable has nothing to do


# --- health checks -------------------------------------------------------------------------


@PAGE.covers("healthcheck", "reload", "only", "pause")
@pytest.mark.parametrize("block", ["healthcheck", "reload", "only", "pause"])
def test_the_commands_have_options_that_exist(block: str) -> None:
    for line in PAGE[block].splitlines():
        assert_is_a_command(shlex.split(line, comments=True))


def assert_is_a_command(argv: list[str]) -> None:
    """The command line parses; ``argv`` begins with ``owsuper``."""
    assert argv[0] == "owsuper"
    words = next((number for number in (2, 1) if " ".join(argv[1 : number + 1]) in COMMANDS), 0)
    name = " ".join(argv[1 : words + 1]) or "worker"
    parser = arguments.Parser(f"owsuper {name}")
    COMMANDS[name].add_options(parser)
    parser.parse(argv[words + 1 :])


# --- the rest ------------------------------------------------------------------------------


@PAGE.covers("queue")
def test_the_queue_is_shown(connected: Sandbox, conn: psycopg.Connection, schema: str) -> None:
    connected.write("flows.py", README["flows"])
    connected.run("python -c 'from flows import *; send_welcome_email.run(Welcome(7))'")
    rows = conn.execute(PAGE["queue"].replace("openworkflow.", f"{schema}.").encode()).fetchall()
    assert [row[:3] for row in rows] == [("send-welcome-email", "pending", 1)]


@PAGE.covers("ps")
def test_the_workers_are_listed(connected: Sandbox) -> None:
    connected.write("flows.py", README["flows"])
    worker = connected.worker("owsuper --processes 2 --module flows.py")
    worker.stderr.wait_for("ready: ")
    while connected.run(PAGE["ps"]).count(" ready ") < 2:
        pass  # it announces itself every three seconds while it starts
    listed = connected.run(PAGE["ps"])
    lines = listed.splitlines()
    assert re.match(r"WORKER +PID +STATE +BUSY +RSS +FOR +DOING$", lines[0])
    assert re.search(rf" {worker.pid} +serving +0/2 .* serves send-welcome-email$", lines[1])
    assert [re.match(r"  child \d +\d+  ready ", line) is not None for line in lines[2:]] == [
        True
    ] * 2


@PAGE.covers("concurrency")
def test_a_workflow_has_slots_of_its_own(sandbox: Sandbox) -> None:
    sandbox.write("reports.py", PAGE["concurrency"])
    said = sandbox.run("python -c 'from reports import *; print(ow.registry.concurrency())'")
    assert said == "{'report': 2}\n"


@PAGE.covers("doctor")
def test_the_doctor_checks_what_the_page_lists(connected: Sandbox) -> None:
    picture = PAGE.text.partition("# --json for programs; exits with 1")[2].partition("```text")[2]
    subjects = re.findall(r"^(?:ok|problem) +(\w+) ", picture.partition("```")[0], re.M)
    found = connected.run(PAGE["doctor"].replace("owsuper doctor", "owsuper doctor --processes 1"))
    assert list(dict.fromkeys(re.findall(r"^\w+ +(\w+) ", found, re.M))) == subjects


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


# Those for containers are tested in tests/test_containers.py.
PAGE.covers("dockerfile", "docker", "compose")


@PAGE.covers("burst")
def test_a_cron_job_executes_what_is_due(connected: Sandbox) -> None:
    connected.write(
        "app/workflows.py",
        "from owsuper import OpenWorkflow\now = OpenWorkflow()\n"
        "@ow.workflow\ndef greet(step):\n    step.run('print', print, 'hello')\n",
    )
    connected.run("owsuper migrate && owsuper start greet")
    assert connected.run(PAGE["burst"]) == "hello\n"


def test_every_block_of_the_document_is_executed() -> None:
    assert PAGE.unexecuted() == []
