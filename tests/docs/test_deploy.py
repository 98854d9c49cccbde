"""What docs/deploy.md tells an operator to do works."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from owsuper import settings
from owsuper.cli import arguments
from owsuper.settings import SETTING_TYPES
from owsuper.supervisor.exit_status import ExitCode
from tests.docs.conftest import Sandbox
from tests.docs.documents import ROOT, Document

pytestmark = pytest.mark.slow

DEPLOY = Document("docs/deploy.md")
README = Document("README.md")
README.covers("flows")
WELCOME = (
    "from flows import *; print(send_welcome_email.run(Welcome(7)).result(timeout=30).address)"
)


@DEPLOY.covers("url", "listen-url")
@pytest.mark.parametrize("name", ["url", "listen-url"])
def test_the_exported_urls_are_understood(sandbox: Sandbox, name: str) -> None:
    printed = sandbox.run(f"{DEPLOY[name]}\nenv")
    env = dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("OWSUPER_"))
    read = settings.load(env=env, cwd=sandbox.directory)
    assert read.database_url == env["OWSUPER_DATABASE_URL"]
    assert read.listen_url == env.get("OWSUPER_LISTEN_URL")
    for url in env.values():
        assert make_conninfo(url)


@DEPLOY.covers("migrate")
def test_the_tables_are_created_checked_and_printed(
    sandbox: Sandbox, conn: psycopg.Connection, database_url: str
) -> None:
    name = f"test_{uuid4().hex[:16]}"
    sandbox.env |= {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": name}
    try:
        migrate, check, printed = (
            line.partition("#")[0].strip() for line in DEPLOY["migrate"].splitlines()
        )
        before = sandbox.start(check)
        assert before.wait() == ExitCode.ERROR
        assert f'CREATE SCHEMA IF NOT EXISTS "{name}"' in sandbox.run(printed)
        assert sandbox.run(f"{migrate}\n{check}") == ""
    finally:
        drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
        conn.execute(drop.as_string())


@pytest.fixture
def role(conn: psycopg.Connection) -> Iterator[str]:
    name = f"role_{uuid4().hex[:16]}"
    conn.execute(f"CREATE ROLE {name} LOGIN".encode())
    yield name
    conn.execute(f"DROP OWNED BY {name}".encode())
    conn.execute(f"DROP ROLE {name}".encode())


@DEPLOY.covers("grants")
def test_the_privileges_suffice_for_a_worker_that_does_not_migrate(
    connected: Sandbox, conn: psycopg.Connection, database_url: str, schema: str, role: str
) -> None:
    grants = DEPLOY["grants"].replace("openworkflow", schema).replace("TO app;", f"TO {role};")
    for statement in grants.split(";\n"):
        conn.execute(statement.encode())
    connected.env["OWSUPER_DATABASE_URL"] = make_conninfo(database_url, user=role)
    connected.write("flows.py", README["flows"])
    worker = connected.worker("owsuper --processes 1 --no-migrate --module flows.py")
    assert connected.run(f"python -c {shlex.quote(WELCOME)}") == "user-7@example.com\n"
    worker.terminate()
    assert worker.wait() == 0
    assert "permission denied" not in worker.stderr.text


# --- the unit ------------------------------------------------------------------------------


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str
    parser.read_string(DEPLOY["unit"])
    return parser


@DEPLOY.covers("unit")
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
    assert (ROOT / "systemd" / "owsuper.service").read_text() == DEPLOY["unit"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    executable = shlex.split(unit()["Service"]["ExecStart"])[0]
    text = DEPLOY["unit"].replace(executable, sys.executable).replace("User=app", "User=root")
    path = tmp_path / "owsuper.service"
    path.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60
    )
    said = verified.stdout + verified.stderr
    assert (verified.returncode, "owsuper.service" in said) == (0, False), said


@DEPLOY.covers("systemctl")
def test_the_commands_for_systemd_are_about_that_unit() -> None:
    commands = [shlex.split(line, comments=True) for line in DEPLOY["systemctl"].splitlines()]
    assert [command[0] for command in commands] == ["systemctl"] * 3 + ["journalctl"]
    assert commands[0][1:] == ["daemon-reload"]
    assert all("owsuper" in command for command in commands[1:])
    assert "[Install]" in DEPLOY["unit"]  # without which enable has nothing to do


# --- the rest ------------------------------------------------------------------------------


@DEPLOY.covers("queue")
def test_the_queue_is_shown(connected: Sandbox, conn: psycopg.Connection, schema: str) -> None:
    connected.write("flows.py", README["flows"])
    connected.run("python -c 'from flows import *; send_welcome_email.run(Welcome(7))'")
    rows = conn.execute(DEPLOY["queue"].replace("openworkflow.", f"{schema}.").encode()).fetchall()
    assert [row[:3] for row in rows] == [("send-welcome-email", "pending", 1)]


def test_the_exit_codes_are_those_of_the_command() -> None:
    section = DEPLOY.text.partition("| Exit code")[2]
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
    assert DEPLOY.unexecuted() == []
