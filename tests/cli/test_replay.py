"""``owsuper replay`` with options, files and databases that it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tests.cli.running import Run, port, write_module
from tests.db.rows import Tables

_APP = """
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()


@ow.workflow
def order(step: Step) -> None: ...


@ow.workflow
def ship(step: Step) -> None: ...
"""


@pytest.fixture(autouse=True)
def application(tmp_path: Path) -> None:
    write_module(tmp_path, "shop", _APP)


def test_it_needs_modules(owsuper: Run) -> None:
    result = owsuper("replay")
    assert result.is_one_error(2)
    assert "--module app.workflows" in result.stderr


def test_modules_that_do_not_import_end_it_with_their_traceback(
    owsuper: Run, tmp_path: Path
) -> None:
    write_module(tmp_path, "broken", "1 / 0")
    result = owsuper("replay", "--module", "broken")
    assert (result.code, result.stdout) == (3, "")
    assert "ZeroDivisionError" in result.stderr
    assert "error: " in result.stderr.splitlines()[-1]


def test_a_workflow_that_the_modules_do_not_define_is_refused(owsuper: Run) -> None:
    result = owsuper("replay", "--module", "shop", "--workflow", "oder")
    assert result.is_one_error(2)
    assert result.stderr.endswith(
        "--workflow: the modules define no workflow 'oder'. They define order, ship\n"
    )


@pytest.mark.parametrize(
    "options", [("--workflow", "order"), ("--since", "3d"), ("--limit", "7"), ("--unfinished",)]
)
def test_options_that_choose_runs_of_a_database_do_not_choose_lines_of_a_file(
    owsuper: Run, options: tuple[str, ...]
) -> None:
    result = owsuper("replay", "--module", "shop", "--histories", "runs.jsonl", *options)
    assert result.is_one_error(2)
    assert f"{options[0]} chooses among the runs of a database" in result.stderr


def test_runs_of_undos_are_left_out_of_a_replay(
    owsuper: Run, database_url: str, conn: psycopg.Connection, schema: str
) -> None:
    tables, env = Tables(conn, schema), {"OWSUPER_DATABASE_URL": database_url}
    env["OWSUPER_SCHEMA"] = schema
    end = {"status": "failed", "worker_id": None, "available_at": None}
    tables.run(workflow_name="order", **end)
    tables.run(workflow_name="undo:order", **end)
    tables.run(workflow_name="gone", **end)
    result = owsuper("replay", "--module", "shop", "--json", env=env)
    assert json.loads(result.stdout)["undoing"] == 1
    assert json.loads(result.stdout)["skipped"] == {"gone": 1}
    assert "left out 1 run of undos: " in result.stderr


def test_a_file_that_is_missing_is_named(owsuper: Run) -> None:
    result = owsuper("replay", "--module", "shop", "--histories", "runs.jsonl")
    assert result.is_one_error(2)
    assert "cannot read runs.jsonl: No such file" in result.stderr


@pytest.mark.parametrize("text", ['{"format": 1, "run": {"id"', "[]", "\udcff"])
def test_a_line_that_is_no_history_is_named(owsuper: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "runs.jsonl").write_text(f"\n{text}\n", encoding="utf-8", errors="surrogateescape")
    result = owsuper("replay", "--module", "shop", "--histories", "runs.jsonl")
    assert result.is_one_error(2)
    assert "runs.jsonl" in result.stderr


def test_a_file_without_lines_is_no_mistake(owsuper: Run, tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").touch()
    result = owsuper("replay", "--module", "shop", "--histories", "runs.jsonl")
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr == "owsuper: replayed 0 runs: 0 fit, 0 do not\n"


def test_a_database_that_does_not_answer_is_an_error_of_its_own(owsuper: Run) -> None:
    with port(listening=False) as nobody:
        url = f"postgresql://127.0.0.1:{nobody}/app"
        result = owsuper("replay", "--module", "shop", "--database-url", url)
    assert result.is_one_error(4)
