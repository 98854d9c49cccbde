"""What importing an application leaves behind, and which module did it."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

from owsuper.ipc.messages import ApplicationLoaded
from tests.child.test_template import App, Start, app, start

__all__ = ["app", "start"]  # fixtures

DOCS = Path(__file__).resolve().parents[2] / "docs"
NATIVE_THREAD = "import _thread, threading; _thread.start_new_thread(threading.Event().wait, ())"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")


def warning(start: Start) -> str:
    loaded = start().load()
    assert isinstance(loaded, ApplicationLoaded)
    (text,) = loaded.warnings
    return text


@pytest.mark.slow
def test_the_module_that_started_a_native_thread_is_named(
    start: Start, app: App, tmp_path: Path
) -> None:
    (tmp_path / "innocent.py").touch()
    (tmp_path / "culprit.py").write_text(NATIVE_THREAD)
    (tmp_path / "late.py").touch()
    app("\nimport innocent\nimport culprit\nimport late\n")
    assert "1 native thread (started by one of culprit, flows)" in warning(start)


def test_if_a_native_thread_may_be_from_several_modules_all_of_them_are_named(
    start: Start, app: App, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").touch()
    (tmp_path / "culprit.py").write_text(f"import helper\n{NATIVE_THREAD}")
    (tmp_path / "package.py").write_text("import culprit")
    (tmp_path / "late.py").touch()
    app("\nimport package\nimport late\n")
    assert "(started by one of helper, culprit, package, flows)" in warning(start)


def test_a_module_that_imports_after_it_has_started_a_native_thread_is_named_alone(
    start: Start, app: App, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").touch()
    (tmp_path / "culprit.py").write_text(f"{NATIVE_THREAD}\nimport helper")
    app("\nimport culprit\n")
    assert "1 native thread (started by culprit)" in warning(start)


@pytest.mark.slow
def test_a_native_thread_of_the_applications_own_module_is_named(start: Start, app: App) -> None:
    app(f"\nimport this\n{NATIVE_THREAD}\n")
    assert "1 native thread (started by one of this, flows)" in warning(start)


@pytest.mark.slow
def test_threads_that_python_knows_are_told_by_their_names_alone(start: Start, app: App) -> None:
    app("\nthreading.Thread(target=threading.Event().wait, name='flusher', daemon=True).start()\n")
    text = warning(start)
    assert "thread flusher" in text
    assert "native" not in text
    assert "OPENBLAS" not in text


@pytest.mark.slow
def test_the_watch_leaves_no_trace_in_the_imports_of_the_application(
    start: Start, app: App, tmp_path: Path
) -> None:
    (tmp_path / "plain.py").touch()
    app(
        textwrap.dedent("""
        import plain
        finders = [type(each).__name__ for each in sys.meta_path]
        """)
    )
    control = start()
    control.load()
    kid = control.fork()
    kid.ready()
    assert kid.ask("type(plain.__loader__).__name__") == "SourceFileLoader"
    assert kid.ask("'ImportWatch' in [type(each).__name__ for each in sys.meta_path]") == "False"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="OpenBLAS starts no thread")
def test_numpy_is_named_with_the_variable_that_lets_it_be_preloaded(
    start: Start, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    app("\nimport numpy\n")
    text = warning(start)
    module = "numpy._core._multiarray_umath"
    assert f"native thread{'s' * (len(os.sched_getaffinity(0)) > 2)} (started by {module})" in text
    assert "set OPENBLAS_NUM_THREADS=1" in text
    documented = (DOCS / "deploy.md").read_text()
    assert f"(started by {module})" in documented
    assert "OPENBLAS_NUM_THREADS=1" in documented


def test_numpy_is_preloaded_with_that_variable(
    start: Start, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    app("\nimport numpy\n")
    control = start()
    loaded = control.load()
    assert isinstance(loaded, ApplicationLoaded)
    assert loaded.warnings == ()
    kid = control.fork()
    kid.ready()
    assert kid.ask("imported_in") == str(control.pid)
