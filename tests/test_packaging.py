"""What is uploaded works for somebody who has nothing else of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

WORKFLOW = """
from owsuper import OpenWorkflow
ow = OpenWorkflow()
@ow.workflow
def nothing(step, input):
    return input
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it, not from the checkout."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    [sdist], [wheel] = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def sdist(built: tuple[Path, Path]) -> Path:
    return built[0]


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Path:
    return built[1]


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of a virtual environment with the wheel and what it requires."""
    directory = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(directory, with_pip=True, symlinks=True)
    run(directory / "bin" / "pip", "install", "--quiet", str(wheel), cwd=directory)
    return directory / "bin"


def run(
    command: str | Path, *arguments: str, cwd: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run it far from the checkout, with nothing of ours in its environment."""
    ours = ("OWSUPER_", "PYTHON", "VIRTUAL_ENV")
    done = subprocess.run(
        [str(command), *arguments],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if not k.startswith(ours)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def files_below(directory: Path) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and not {"__pycache__", ".installed"} & set(path.parts)
    }


def test_the_wheel_holds_the_package_and_its_sql_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sql = {f"owsuper/{name}" for name in files_below(ROOT / "sql")}
    assert names == files_below(ROOT / "owsuper") | sql


def test_the_wheel_says_that_it_is_typed_and_under_which_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "owsuper/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_can_be_tested_and_used_without_the_repository(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", ".ci/run"}
    wanted |= files_below(ROOT / "sql") | files_below(ROOT / "tests")
    assert wanted - names == set()


def test_a_clean_installation_imports_and_knows_its_version(clean: Path, tmp_path: Path) -> None:
    where = run(clean / "python", "-c", "import owsuper as o; print(o.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(clean.parent))
    assert run(clean / "python", "-m", "owsuper", "--version", cwd=tmp_path).stdout == (
        run(clean / "owsuper", "--version", cwd=tmp_path).stdout
    )


def test_a_clean_installation_finds_its_sql(clean: Path, tmp_path: Path) -> None:
    from owsuper.db.migrate import sql

    printed = run(clean / "owsuper", "migrate", "--sql", cwd=tmp_path).stdout
    assert printed.strip() == sql("openworkflow").strip()
    assert "workflow_runs" in printed


def test_every_module_of_a_clean_installation_imports(clean: Path, tmp_path: Path) -> None:
    script = """
import importlib, pkgutil, owsuper
scripts = ("owsuper.__main__", "owsuper.embedded.keeper", "owsuper.embedded.postmaster")
of_extras = (
    "owsuper.dashboard", "owsuper.django", "owsuper.fastapi", "owsuper.starlette",
    "owsuper.metrics.families", "owsuper.metrics.queue", "owsuper.metrics.server",
    "owsuper.supervisor.queue_watch", "owsuper.supervisor.served_metrics",
    "owsuper.testing.pytest_plugin", "owsuper.testing.strategies",
    "owsuper.tracing.calls", "owsuper.tracing.execution", "owsuper.tracing.spans",
)
for module in pkgutil.walk_packages(owsuper.__path__, "owsuper."):
    if module.name not in scripts and not module.name.startswith(of_extras):
        importlib.import_module(module.name)
"""
    run(clean / "python", "-W", "error", "-c", script, cwd=tmp_path)


def test_it_requires_little(clean: Path, tmp_path: Path) -> None:
    listed = run(clean / "pip", "list", "--format=freeze", cwd=tmp_path).stdout.split()
    names = {line.partition("==")[0].lower().replace("_", "-") for line in listed}
    assert names - {"pip", "setuptools", "typing-extensions"} == {
        "cronsim",
        "msgspec",
        "orjson",
        "owsuper",
        "psycopg",
        "psycopg-binary",
        "psycopg-pool",
        "setproctitle",
    }


def test_without_a_database_or_the_extra_both_ways_out_are_named(
    clean: Path, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(WORKFLOW)
    worker = run(clean / "owsuper", "--module", "flows", cwd=tmp_path, check=False)
    assert worker.returncode == 4
    assert 'pip install "owsuper[embedded]"' in worker.stderr
    assert "OWSUPER_DATABASE_URL" in worker.stderr
    assert "Traceback" not in worker.stderr
    assert not (tmp_path / ".owsuper").exists()

    client = run(
        clean / "python", "-c", "import flows; flows.nothing.run(1)", cwd=tmp_path, check=False
    )
    said = client.stderr.splitlines()[-1]
    assert said.startswith("owsuper.errors.EmbeddedUnavailable: No database is configured")
