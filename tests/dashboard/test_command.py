"""``owsuper dashboard`` as a process: what it refuses, what it says, how it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from owsuper.dashboard.passwords import PasswordFile, add_user
from tests.cli.conftest import owsuper
from tests.cli.running import Run, port, write_module
from tests.fixtures.ports import free_port
from tests.fixtures.processes import Program, Spawn, owsuper_command

__all__ = ["owsuper"]

MISTAKES = {
    "an address for others": (["--host", "0.0.0.0"], ["--auth", "--insecure"]),
    "an address for others, of IPv6": (["--host", "::"], ["--auth", "--insecure"]),
    "an unknown host": (["--host", "nowhere.invalid"], ["--host nowhere.invalid: unknown"]),
    "an address of another machine": (
        ["--host", "192.0.2.1", "--insecure"],
        ["this machine has no such address"],
    ),
    "a port that is none": (["--port", "99999"], ["--port: must be a whole number from 0"]),
    "no password file": (["--auth", "users"], ["users: the password file cannot be read"]),
    "a header of anybody": (["--auth-header", "X-User"], ["--trusted-proxies"]),
    "a header that is none": (["--auth-header", "X User"], ["--auth-header: must be the name"]),
    "proxies that are none": (
        ["--auth-header", "X-User", "--trusted-proxies", "proxy"],
        ["--trusted-proxies: must be addresses", "'proxy'"],
    ),
    "proxies for nothing": (["--trusted-proxies", "10.0.0.1"], ["--trusted-proxies needs --auth"]),
    "two ways in": (["--auth", "users", "--insecure"], ["--auth and --insecure exclude"]),
    "a root path that is none": (["--root-path", "x"], ["--root-path: must be a path"]),
    "a user without a file": (["--add-user", "ada"], ["--add-user needs --auth FILE"]),
    "a misspelled option": (["--allow-action"], ["did you mean --allow-actions?"]),
}


@pytest.mark.parametrize(
    ("argv", "words"),
    [pytest.param(*each, marks=(pytest.mark.slow, pytest.mark.once) if number else ())
     for number, each in enumerate(MISTAKES.values())],
    ids=MISTAKES,
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_2(
    argv: list[str], words: list[str], owsuper: Run, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    result = owsuper("dashboard", "--port", "0", *argv, env=env)
    assert result.is_one_error(2), result
    assert all(word in result.stderr for word in words), result.stderr


def test_a_port_in_use_is_named_with_a_way_out(
    owsuper: Run, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    with port(listening=True) as taken:
        result = owsuper("dashboard", "--port", str(taken), env=env)
    assert result.is_one_error(2), result
    assert f"127.0.0.1:{taken}: the port is in use" in result.stderr
    assert "--port" in result.stderr


@pytest.mark.slow
@pytest.mark.once
def test_without_a_database_at_the_start_the_exit_code_is_4(owsuper: Run) -> None:
    with port(listening=False) as nobody:
        url = f"postgresql://ada:s3cret@127.0.0.1:{nobody}/shop"
        result = owsuper("dashboard", "--port", "0", env={"OWSUPER_DATABASE_URL": url})
    assert result.is_one_error(4), result
    assert "s3cret" not in result.stderr


@pytest.mark.slow
@pytest.mark.once
def test_without_tables_it_names_the_command_that_makes_them(
    owsuper: Run, database_url: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": "not_there"}
    result = owsuper("dashboard", "--port", "0", env=env)
    assert result.is_one_error(1), result
    assert "owsuper migrate --schema not_there" in result.stderr


@pytest.mark.slow
@pytest.mark.once
def test_an_application_that_does_not_import_is_exit_code_3(
    owsuper: Run, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    result = owsuper("dashboard", "--module", "nowhere", env=env)
    assert result.is_one_error(3), result
    assert "There is no module nowhere" in result.stderr


def started(program: Program) -> str:
    """The address that it says it listens at."""
    return program.stderr.wait_for(r"dashboard at (http://\S+/) ")[1]


def test_it_says_where_it_is_answers_and_ends_with_code_0(
    spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    write_module(
        tmp_path,
        "shop",
        "from owsuper import OpenWorkflow\now = OpenWorkflow()\n"
        "@ow.workflow('order')\ndef order(step, input: int) -> int: ...\n",
    )
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn_owsuper("dashboard", "--port", "0", "--module", "shop", env=env, cwd=tmp_path)
    address = started(program)
    with urllib.request.urlopen(f"{address}waiting", timeout=60) as answer:
        assert answer.status == 200
        assert "server" not in answer.headers
        assert schema in answer.read().decode()
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    program.end()
    assert program.stdout.text == ""
    assert program.stderr.text.count("\n") == 1, program.stderr.text


@pytest.mark.slow
@pytest.mark.once
def test_settings_come_from_the_environment_and_from_pyproject(
    spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.owsuper.dashboard]\nport = 0\nallow-actions = true\nroot-path = '/flows'\n"
    )
    env = {
        "OWSUPER_DATABASE_URL": database_url,
        "OWSUPER_SCHEMA": schema,
        "OWSUPER_DASHBOARD_HOST": "127.0.0.2",
    }
    program = spawn_owsuper("dashboard", env=env, cwd=tmp_path)
    address = started(program)
    assert re.fullmatch(r"http://127\.0\.0\.2:\d+/flows/", address)
    assert "(actions allowed)" in program.stderr.text
    # The proxy in front has taken its path away.
    direct = address.replace("/flows", "")
    with urllib.request.urlopen(f"{direct}waiting", timeout=60) as answer:
        assert 'href="/flows/workers"' in answer.read().decode()
    program.terminate()
    assert program.wait() == 0


@pytest.mark.slow
@pytest.mark.once
def test_its_log_may_be_json(
    spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    add_user(tmp_path / "users", "ada", "correct horse")
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    options = ("--host", "0.0.0.0", "--port", "0", "--auth", "users", "--log-format", "json")
    program = spawn_owsuper("dashboard", *options, env=env, cwd=tmp_path)
    started(program)
    program.terminate()
    assert program.wait() == 0
    program.end()
    line = json.loads(program.stderr.text.splitlines()[0])
    assert (line["level"], line["logger"]) == ("WARNING", "owsuper.dashboard")


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.owsuper.dashboard]\nprt = 1\n", "did you mean port?"),
        ("[tool.owsuper]\ndashboard = 1\n", "tool.owsuper.dashboard must be a table"),
        ("[tool.owsuper.dashboard]\nport = 'x'\n", "[tool.owsuper.dashboard] port in "),
    ],
)
def test_a_mistake_in_pyproject_names_the_file(
    text: str, message: str, owsuper: Run, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    result = owsuper("dashboard")
    assert result.is_one_error(2), result
    assert message in result.stderr


@pytest.mark.slow
@pytest.mark.once
def test_a_user_is_added_from_standard_input_and_may_log_in(
    spawn_owsuper: Spawn, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*owsuper_command(), "dashboard", "--add-user", "ada", "--auth", "users"],
        input="correct horse\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == "owsuper: user 'ada' added to users\n"
    assert PasswordFile(tmp_path / "users").verify("ada", "correct horse")


@pytest.mark.slow
@pytest.mark.once
def test_the_missing_extra_is_named(owsuper: Run, tmp_path: Path, database_url: str) -> None:
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'uvicorn'\", name='uvicorn')\n"
    )
    env = {"OWSUPER_DATABASE_URL": database_url, "PYTHONPATH": str(tmp_path)}
    result = owsuper("dashboard", "--port", "0", env=env)
    assert result.is_one_error(2), result
    assert "needs the library uvicorn: pip install 'owsuper[dashboard]'" in result.stderr


@pytest.mark.slow
@pytest.mark.once
def test_a_socket_that_closed_a_moment_ago_is_no_port_in_use(
    spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    number = free_port()
    with socket.create_server(("127.0.0.1", number)) as server:
        client = socket.create_connection(("127.0.0.1", number))
        accepted, _ = server.accept()
        accepted.close()  # first, so that the port of this end stays known for a minute
        client.close()
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn_owsuper("dashboard", "--port", str(number), env=env, cwd=tmp_path)
    assert str(number) in started(program)
    program.terminate()
    assert program.wait() == 0
