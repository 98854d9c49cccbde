"""Every command and every snippet of the README is executed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import tomllib

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import ROOT, Document

README = Document("README.md")


@README.covers("flows", "worker", "send", "run-send")
def test_a_newcomer_gets_a_result_from_the_embedded_server(sandbox: Sandbox) -> None:
    sandbox.write("flows.py", README["flows"])
    sandbox.write("send.py", README["send"])
    worker = sandbox.worker(README["worker"])
    printed = sandbox.run(README["run-send"])
    assert printed == (
        "Receipt(address='user-7@example.com', message='outbox/user-7@example.com.txt')\n"
    )
    message = sandbox.directory / "outbox" / "user-7@example.com.txt"
    assert message.read_text() == "Welcome, user-7@example.com!\n"

    message.unlink()
    assert sandbox.run(README["run-send"]) == printed  # the same run again,
    assert not message.exists()  # which is over

    worker.terminate()
    assert worker.wait() == 0
    assert "embedded PostgreSQL" in worker.stderr.text
    assert (sandbox.directory / ".owsuper").is_dir()


def test_the_files_of_the_example_are_those_of_the_readme() -> None:
    for name in ("flows", "send"):
        comment, _, text = README[name].partition("\n")
        assert comment == f"# {name}.py"
        assert (ROOT / "examples" / "welcome" / f"{name}.py").read_text() == text


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
SLOW_TO_SEND = """
import os, time

def find_address(user_id: int) -> str:
    Path("calls").open("a").write("find-address\\n")
    return f"user-{user_id}@example.com"


def send_email(address: str) -> str:
    Path("calls").open("a").write(f"send-email {os.getpid()}\\n")
    if len(Path("calls").read_text().splitlines()) == 2:
        print(os.getpid(), flush=True)
        time.sleep(60)
    return "sent"
"""


@README.covers("crash-log")
def test_a_crash_is_logged_as_shown_and_only_the_step_in_flight_is_repeated(
    connected: Sandbox,
) -> None:
    connected.write("flows.py", README["flows"] + SLOW_TO_SEND)
    connected.write("send.py", README["send"])
    worker = connected.worker("owsuper --module flows.py")
    sending = connected.start("python send.py")
    victim = int(worker.stdout.wait_for(r"^(\d+)$")[1])
    os.kill(victim, signal.SIGKILL)
    sending.stdout.wait_for("Receipt")
    calls = (connected.directory / "calls").read_text().splitlines()
    assert calls[:2] == ["find-address", f"send-email {victim}"]
    assert [call.split()[0] for call in calls[2:]] == ["send-email"]
    for line in README["crash-log"].splitlines():
        worker.stderr.wait_for(_alike(line))


def _alike(line: str) -> str:
    """A pattern for log lines that differ from ``line`` in numbers and ids alone."""
    time, _, rest = line.partition(" ")
    assert re.fullmatch(TIME, time)
    for constant in (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"(?<!\w)\d+(?!\w)"):
        rest = re.sub(constant, "\0", rest)
    return f"^{TIME} " + re.escape(rest).replace("\0", r"[\da-f-]+") + "$"


@README.covers("production")
@pytest.mark.slow
def test_the_command_for_production_serves_until_it_is_stopped(
    connected: Sandbox, database_url: str
) -> None:
    connected.write("app/workflows.py", README["flows"])
    command = README["production"].strip()
    assert "OWSUPER_DATABASE_URL=postgresql://app@db/app" in command
    real = command.replace("postgresql://app@db/app", shlex.quote(database_url))
    worker = connected.worker(real)
    program = (
        "from app.workflows import *; "
        "print(send_welcome_email.run(Welcome(7)).result(timeout=30).address)"
    )
    assert connected.run(f"python -c {shlex.quote(program)}") == "user-7@example.com\n"
    worker.terminate()
    assert worker.wait() == 0


@README.covers("make")
@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_the_two_commands_for_a_fresh_machine_exist(sandbox: Sandbox) -> None:
    commands = [line.partition("#")[0].strip() for line in README["make"].splitlines()]
    assert commands == ["make demo", "make test"]
    for command in commands:
        assert sandbox.run(f"cd {shlex.quote(str(ROOT))} && {command} --dry-run")


@README.covers("install")
def test_what_is_to_be_installed_is_this_project_and_an_extra_that_it_has() -> None:
    pip, install, requirement = shlex.split(README["install"], comments=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = re.fullmatch(r"([\w-]+)\[([\w-]+)\]", requirement)
    assert (pip, install) == ("pip", "install")
    assert found
    assert found[1] == project["name"]
    assert found[2] in project["optional-dependencies"]


def test_every_block_of_the_readme_is_executed() -> None:
    assert README.unexecuted() == []


def test_the_readme_lists_every_document() -> None:
    section = README.text.partition("## Documentation")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| \[.+\]\(docs/([\w-]+\.md)\) \|", section, re.M)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
