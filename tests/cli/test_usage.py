"""The options of the command, and the messages for mistakes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from owsuper.cli import COMMANDS
from owsuper.settings import SETTING_TYPES, option_name, variable_name
from tests.cli.running import Run
from tests.fixtures.processes import Spawn

MISTAKES = {
    "no module": ([], "no module: name the module with your workflows by --module"),
    "a positional module": (["app.workflows"], "unexpected argument 'app.workflows'"),
    "a misspelt option": (["--proceses", "8"], "no such option: --proceses; did you mean --proc"),
    "an abbreviated option": (["--conc", "8"], "no such option: --conc"),
    "an option without its value": (["--module"], "--module: expected one argument"),
    "a command that comes last": (["--schema", "x", "migrate"], "unexpected argument 'migrate'"),
    "a worker's option of migrate": (["migrate", "--lease", "3"], "no such option: --lease"),
    "check and sql at once": (["migrate", "--check", "--sql"], "not allowed with"),
    "a closed ready-fd": (["--module", "m", "--ready-fd", "77"], "'77' is not an open file"),
    "processes that are none": (["--processes", "0"], "--processes: must be a whole number from 1"),
    "processes in words": (["--processes", "eight"], "not 'eight'"),
    "half a process": (["--processes", "1.5"], "--processes: must be a whole number"),
    "no concurrency": (["--concurrency", "0"], "--concurrency: must be a whole number from 1"),
    "a lease too short": (["--lease", "10ms"], "--lease: must be a duration from 1s to 1d"),
    "a negative lease": (["--lease", "-30s"], "--lease: "),
    "an endless lease": (["--lease", "inf"], "--lease: must be a duration"),
    "polling without pause": (["--poll-interval", "0"], "--poll-interval: must be a duration"),
    "no duration": (["--graceful-timeout", "soon"], "such as '30s', '5m' or a number of seconds"),
    "no crash at all": (["--max-crashes", "0"], "--max-crashes: must be a whole number from 1"),
    "an unknown log level": (["--log-level", "loud"], "must be one of debug, info, warning"),
    "an unknown log format": (["--log-format", "xml"], "must be one of text, json, not 'xml'"),
    "a log configuration that is not there": (
        ["--module", "m", "--log-config", "nowhere.toml"],
        "--log-config nowhere.toml: there is no such file",
    ),
    "a schema with a blank": (["--schema", "my schema"], '--schema: Invalid schema name "my sch'),
    "a long schema": (["--schema", "s" * 64], "at most 63 bytes"),
    "migrate: invalid schema": (["migrate", "--schema", "1st"], 'Invalid schema name "1st"'),
    "an empty namespace": (["--namespace", ""], "--namespace: must be non-empty text"),
    "another database": (["--database-url", "mysql://h/d"], "must begin with postgresql://"),
    "two databases of a command": (
        ["runs", "list", "--database-url=a=b", "--database-url=c=d"],
        "--database-url is given twice; a command uses one database",
    ),
    "one database twice": (
        ["--module=m", "--database-url=a=b", "--database-url= a=b"],
        "--database-url: one database is given twice",
    ),
    "two databases, one a mistake": (
        ["--module=m", "--database-url=a=b", "--database-url=mysql://h/d"],
        "--database-url: must begin with postgresql://",
    ),
    "two databases and no module": (
        ["--database-url=a=b", "--database-url=c=d"],
        "no module: name the module",
    ),
    "two databases in one process": (
        ["--module=m", "--database-url=a=b", "--database-url=c=d", "--foreground"],
        "--foreground: give one --database-url",
    ),
    "two databases and one program": (
        ["--module=m", "--database-url=a=b", "--database-url=c=d", "--ready-fd=2"],
        "--ready-fd: give one --database-url",
    ),
    "two databases and one to listen": (
        ["--module=m", "--database-url=a=b", "--database-url=c=d", "--listen-url=e=f"],
        "--listen-url belongs to one database, and several are given",
    ),
    "two databases and one metrics port": (
        ["--module=m", "--database-url=a=b", "--database-url=c=d", "--metrics-port=65535"],
        "--metrics-port: 2 databases need as many ports, from 65535 on, and 65535 is the last",
    ),
    "an empty URL": (["--database-url", ""], "--database-url: must be a URL such as"),
    "no measurement": (["bench", "pick-up"], "no such measurement: pick-up; there are pickup, "),
    "no command of runs": (["runs"], "the following arguments are required: COMMAND"),
    "another command of runs": (["runs", "lst"], "argument COMMAND: invalid choice: 'lst'"),
    "a command of runs that comes last": (["runs", "--json", "list"], "no such option: --json"),
    "a command of runs that comes late": (["runs", "--", "list"], "the command must follow at"),
    "a status that is none": (["runs", "list", "--status", "done"], "--status: invalid choice: 'd"),
    "an empty page": (["runs", "list", "--limit", "0"], "--limit: must be a whole number from 1"),
    "no cursor": (["runs", "list", "--after", "x"], "after: 'x' is no cursor: it is not Base64"),
    "two cursors": (["runs", "list", "--after", "x", "--before", "x"], "not allowed with argument"),
    "no workflow": (["runs", "list", "--workflow", ""], "Invalid workflow name ''"),
    "no run": (["runs", "show"], "the following arguments are required: ID"),
    "two runs to show": (["runs", "show", "a", "b"], "unexpected argument 'b'"),
    "no runs": (
        ["runs", "cancel"],
        "pass the ids of runs, or filters such as --workflow and --since",
    ),
    "a run of other bytes": (["runs", "show", "\udcff"], r"b'\xff' is not UTF-8 (see owsuper runs"),
    "runs of other bytes": (["runs", "cancel", "a", "b\udcff"], r"b'b\xff' is not UTF-8"),
    "a namespace of other bytes": (["runs", "list", "--namespace", "\udcff"], "is not UTF-8"),
    "no time to wait": (
        ["runs", "wait", "a", "--timeout", "soon"],
        "--timeout: must be a duration",
    ),
    "a module to count": (["runs", "count", "--module", "m"], "no such option: --module"),
    "an unreadable URL": (
        ["migrate", "--database-url", "postgresql://u:s3cret@[h/d"],
        "The database URL cannot be read",
    ),
}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("argv", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_2(
    argv: list[str], message: str, owsuper: Run
) -> None:
    result = owsuper(*argv)
    assert result.is_one_error(2), result
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "s3cret" not in result.stderr


def test_a_mistake_in_the_environment_names_the_variable(owsuper: Run) -> None:
    result = owsuper("--module", "m", env={"OWSUPER_PROCESSES": "many"})
    assert result.is_one_error(2), result
    assert "OWSUPER_PROCESSES: must be a whole number" in result.stderr


@pytest.mark.parametrize("name", ["OWSUPER_NAMESPACE", "OWSUPER_DATABASE_URL"])
def test_bytes_that_are_not_utf8_in_the_environment_are_a_mistake(owsuper: Run, name: str) -> None:
    result = owsuper("runs", "list", env={name: "\udcff"})
    assert result.is_one_error(2), result
    assert f"{name}: must be " in result.stderr


def test_a_misspelled_variable_is_a_warning(owsuper: Run) -> None:
    env = {"OWSUPER_PROCESES": "3", "OWSUPER_MODULES": "", "OWSUPER_TEST_LEASE": "1"}
    result = owsuper("migrate", "--sql", env={**env, "OWSUPER_EMBEDDED": "x", "OWSUPER_XYZ": "7"})
    assert result.code == 0
    assert result.stderr == (
        "owsuper: warning: OWSUPER_PROCESES: there is no such setting; did you mean"
        " OWSUPER_PROCESSES?\n"
    )


def test_a_misspelled_variable_of_the_dashboard_is_a_warning_too(owsuper: Run) -> None:
    env = {"OWSUPER_DASHBOARD_HIDE_VALUE": "true", "OWSUPER_DASHBOARD_HOST": "127.0.0.1"}
    result = owsuper("migrate", "--sql", env=env)
    assert result.code == 0
    assert result.stderr == (
        "owsuper: warning: OWSUPER_DASHBOARD_HIDE_VALUE: there is no such setting; did you mean"
        " OWSUPER_DASHBOARD_HIDE_VALUES?\n"
    )


def test_a_mistake_in_pyproject_names_the_file(owsuper: Run, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.owsuper]\nproceses = 3\n")
    result = owsuper("--module", "m")
    assert result.is_one_error(2), result
    assert f"[tool.owsuper] proceses in {tmp_path / 'pyproject.toml'}" in result.stderr
    assert "did you mean processes?" in result.stderr


def test_help_names_every_option_its_variable_and_every_exit_code(owsuper: Run) -> None:
    result = owsuper("--help")
    assert (result.code, result.stderr) == (0, "")
    for name in SETTING_TYPES:
        assert f"--{option_name(name)}" in result.stdout
        assert f"[{variable_name(name)}]" in result.stdout
    assert "a bare number is seconds" in result.stdout
    assert "[tool.owsuper]" in result.stdout
    assert all(f"\n  {code}  " in result.stdout for code in range(5))
    assert "ready-fd" not in result.stdout


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, owsuper: Run) -> None:
    result = owsuper(*command.split(), "--help")
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: owsuper {command} ")


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("command", ["", "runs", "runs list", "start"])
def test_help_is_a_command_too(command: str, owsuper: Run) -> None:
    assert owsuper("help", *command.split()) == owsuper(*command.split(), "--help")


@pytest.mark.slow
@pytest.mark.once
def test_help_for_the_group_of_runs_may_stand_in_it(owsuper: Run) -> None:
    assert owsuper("runs", "help") == owsuper("runs", "--help")
    assert owsuper("runs", "help", "list") == owsuper("runs", "list", "--help")


def test_help_for_an_unknown_command_is_a_mistake(owsuper: Run) -> None:
    result = owsuper("help", "nonsense")
    assert result.is_one_error(2), result
    assert "no such command: nonsense" in result.stderr


def test_the_version_is_data_on_standard_output(owsuper: Run) -> None:
    result = owsuper("--version")
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith("owsuper ")
    assert len(result.stdout.splitlines()) == 1


def test_python_dash_m_is_the_same_command(spawn: Spawn, tmp_path: Path) -> None:
    program = spawn(sys.executable, "-m", "owsuper", "--processes", "0", cwd=tmp_path)
    assert program.wait() == 2
    program.end()
    assert program.stderr.text.startswith("owsuper: error: --processes: ")


@pytest.mark.parametrize("module", ["owsuper.bench.app", "owsuper.child"])
def test_the_command_never_loads_what_a_supervisor_does_not_need(
    module: str, spawn: Spawn, tmp_path: Path
) -> None:
    code = f"import sys, owsuper.cli; sys.exit({module!r} in sys.modules)"
    assert spawn(sys.executable, "-c", code, cwd=tmp_path).wait() == 0
