"""Importing an application: what is found, and how each mistake is answered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from owsuper.child.loader import Application, LoadError, load

Write = Callable[[str, str], Path]

FLOWS = """
from owsuper.client.app import OpenWorkflow

ow = OpenWorkflow()

@ow.workflow("greet")
def greet(step):
    return "hello"
"""


@pytest.fixture(autouse=True)
def _leave_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def names(application: Application) -> list[tuple[str, str | None]]:
    return application.registry.names()


def refused(*modules: str) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(modules)
    return caught.value


def test_a_module_of_the_working_directory_is_found(write: Write) -> None:
    write("flows.py", FLOWS)
    assert names(load(["flows"])) == [("greet", None)]


def test_a_dotted_module_an_instance_in_it_and_a_file_are_the_same_application(
    write: Write,
) -> None:
    write("app/__init__.py", "")
    write("app/flows.py", FLOWS)
    assert names(load(["app.flows", "app.flows:ow", "app/flows.py"])) == [("greet", None)]
    assert "app.flows" in sys.modules


def test_a_file_outside_of_any_package_is_imported_by_its_path(
    write: Write, tmp_path: Path
) -> None:
    write("elsewhere/flows.py", "import beside\n" + FLOWS)
    write("elsewhere/beside.py", "")
    assert names(load([str(tmp_path / "elsewhere" / "flows.py")])) == [("greet", None)]


def test_a_file_may_be_called_like_a_module_of_the_standard_library(write: Write) -> None:
    path = write("queue.py", FLOWS)
    assert names(load(["./queue.py"])) == [("greet", None)]
    assert sys.modules["queue"].__file__ != str(path)


def test_workflows_of_several_modules_are_merged(write: Write) -> None:
    write("one.py", FLOWS)
    write("two.py", FLOWS.replace("greet", "part"))
    assert names(load(["one", "two"])) == [("greet", None), ("part", None)]


def test_workflows_registered_with_an_instance_from_elsewhere_are_found(write: Write) -> None:
    write("base.py", "from owsuper.client.app import OpenWorkflow\now = OpenWorkflow()\n")
    write("flows.py", "import base\n\n@base.ow.workflow\ndef greet(step): ...\n")
    assert names(load(["flows"])) == [("greet", None)]


def test_what_the_instance_was_given_is_told(write: Write) -> None:
    write("flows.py", FLOWS.replace("OpenWorkflow()", "OpenWorkflow(namespace='n', schema='s')"))
    application = load(["flows"])
    assert (application.namespace, application.schema) == ("n", "s")
    assert application.database_url is None


# --- mistakes ----------------------------------------------------------------------------------


def test_no_module_at_all() -> None:
    assert refused().kind == "modules"


def test_a_module_that_does_not_exist_needs_no_traceback(tmp_path: Path) -> None:
    error = refused("nowhere.flows")
    assert (error.kind, error.traceback) == ("import", None)
    assert "There is no module nowhere.flows (there is no nowhere)" in error.message
    assert str(tmp_path) in error.message


def test_a_submodule_that_does_not_exist_is_named(write: Write) -> None:
    write("app/__init__.py", "")
    assert "There is no module app.flows," in refused("app.flows").message


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    assert f"no Python file flows.py (looked from {tmp_path})" in refused("flows.py").message


def test_an_import_that_fails_in_the_users_code_shows_it(write: Write) -> None:
    path = write("flows.py", "import json\n\ndef f():\n    1 / 0\n\nf()\n")
    error = refused("flows")
    assert error.kind == "import"
    assert error.message == "flows cannot be imported: ZeroDivisionError: division by zero"
    assert error.traceback is not None
    frames = [line for line in error.traceback.splitlines() if line.startswith("  File")]
    assert len(frames) == 2
    assert all(str(path) in frame for frame in frames)


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ("OpenWorkflow(schema='a b')", "OpenWorkflow(schema=...): "),
        ("OpenWorkflow().workflow(lambda: 5)", "<lambda>"),
        ("OpenWorkflow().workflow('w')(lambda: 5)", 'workflow "w": the function has no '),
    ],
)
def test_a_mistake_that_owsuper_itself_names_needs_its_place_and_no_traceback(
    write: Write, mistake: str, reason: str
) -> None:
    path = write("flows.py", f"from owsuper import OpenWorkflow\n\now = {mistake}\n")
    error = refused("flows")
    assert (error.kind, error.traceback) == ("import", None)
    assert error.message.startswith(f"{path}, line 3: ")
    assert reason in error.message


def test_a_missing_dependency_shows_where_it_is_imported(write: Write) -> None:
    write("flows.py", "import no_such_dependency\n")
    error = refused("flows")
    assert "No module named 'no_such_dependency'" in error.message
    assert error.traceback is not None


def test_a_syntax_error_shows_the_line(write: Write) -> None:
    write("flows.py", "def f(:\n    pass\n")
    error = refused("flows")
    assert "SyntaxError" in error.message
    assert error.traceback is not None
    assert "def f(:" in error.traceback


def test_a_script_that_exits_is_answered_by_advice(write: Write) -> None:
    write("flows.py", "import sys\nsys.exit(0)\n")
    assert '__name__ == "__main__"' in refused("flows").message


def test_a_module_without_workflows_needs_no_traceback(write: Write) -> None:
    write("flows.py", FLOWS.split("@")[0])
    error = refused("flows")
    assert (error.kind, error.traceback) == ("empty", None)
    assert "No workflow is registered in flows" in error.message


def test_a_module_without_an_openworkflow_is_told_apart(write: Write) -> None:
    write("flows.py", "x = 1\n")
    error = refused("flows")
    assert error.kind == "empty"
    assert "No OpenWorkflow is defined in flows" in error.message


def test_two_workflows_of_one_name_in_one_module(write: Write) -> None:
    write("flows.py", FLOWS + FLOWS.split("()\n", 1)[1])
    error = refused("flows")
    assert (error.kind, error.traceback) == ("duplicate", None)
    assert "greet" in error.message


def test_two_workflows_of_one_name_in_two_modules(write: Write) -> None:
    write("one.py", FLOWS)
    write("two.py", FLOWS)
    error = refused("one", "two")
    assert error.kind == "duplicate"
    assert "one.py" in error.message
    assert "two.py" in error.message


def test_an_attribute_that_is_missing_or_something_else(write: Write) -> None:
    write("flows.py", FLOWS)
    assert refused("flows:wo").message == "flows:wo: flows has no wo."
    assert "flows:greet is a Workflow, not an OpenWorkflow" in refused("flows:greet").message


def test_instances_that_disagree_cannot_share_a_worker(write: Write) -> None:
    write("one.py", FLOWS.replace("OpenWorkflow()", "OpenWorkflow(namespace='a')"))
    write(
        "two.py",
        FLOWS.replace("greet", "part").replace("OpenWorkflow()", "OpenWorkflow(namespace='b')"),
    )
    error = refused("one", "two")
    assert "disagree about namespace (a, b)" in error.message
