"""Libraries that only some users have: who does not use them pays nothing, and who lacks one is
told how to install it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from owsuper import extras

OPTIONAL = {
    "asgiref",
    "asyncpg",
    "django",
    "fastapi",
    "hypothesis",
    "prometheus_client",
    "psycopg2",
    "pydantic",
    "pytest",
    "sqlalchemy",
    "starlette",
    "watchfiles",
}


def python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_and_the_commands_import_no_library_of_an_extra() -> None:
    script = f"""
import sys
import owsuper, owsuper.cli, owsuper.testing
for package in (owsuper, owsuper.testing):
    for name in package.__all__:
        getattr(package, name)
print({OPTIONAL} & set(sys.modules))
"""
    assert python(script) == "set()\n"


def test_a_plain_worker_and_a_plain_client_import_nothing_for_what_few_programs_need() -> None:
    script = """
import sys
import owsuper.child.main, owsuper.cli.supervised
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()

@ow.workflow
def order(step: Step) -> None: ...

few_need = (
    "owsuper.child.execution.around",
    "owsuper.child.execution.transaction",
    "owsuper.client.resources",
    "owsuper.db.transactions",
    "owsuper.metrics",
    "owsuper.testing",
    "owsuper.thread_worker",
    "owsuper.workflow.upcasting",
)
print([name for name in sys.modules if name.startswith(few_need)])
"""
    assert python(script) == "[]\n"


@pytest.mark.parametrize(
    ("module", "library", "requirement"),
    [
        ("owsuper.django", "django", "owsuper[django]"),
        ("owsuper.django.test", "django", "owsuper[django]"),
        ("owsuper.fastapi", "fastapi", "owsuper[fastapi]"),
        ("owsuper.fastapi", "pydantic", "owsuper[fastapi]"),
        ("owsuper.fastapi", "starlette", "owsuper[fastapi]"),
        ("owsuper.metrics.families", "prometheus_client", "owsuper[metrics]"),
        ("owsuper.starlette", "starlette", "owsuper[starlette]"),
        ("owsuper.testing.strategies", "hypothesis", "hypothesis"),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(
    module: str, library: str, requirement: str
) -> None:
    script = f"""
import sys
sys.modules[{library!r}] = None
try:
    import {module}
except ImportError as error:
    print(error)
"""
    part = ".".join(module.split(".")[:2]) if "strategies" not in module else module
    assert python(script) == f"{part} needs the library {library}: pip install '{requirement}'\n"


def test_a_module_of_ours_that_is_missing_is_not_taken_for_a_library() -> None:
    error = ModuleNotFoundError("No module named 'owsuper.gone'", name="owsuper.gone")
    assert extras.missing(error, "owsuper.fastapi", "owsuper[fastapi]") is error
