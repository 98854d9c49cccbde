"""``manage.py migrate`` and ``manage.py owsuper``."""

from __future__ import annotations

import json
import signal

import pytest

from tests.django.conftest import Project

pytestmark = pytest.mark.slow  # they start processes that import Django

RUN = """
from shop.models import Order
from shop.workflows import ship, ship_async
order = Order.objects.create(item="tea")
print(ship.run(order.pk).result(timeout="90s"))
print(ship_async.run(order.pk).result(timeout="90s"))
print(Order.objects.get(pk=order.pk).shipped)
"""


def test_migrate_creates_the_tables_and_a_worker_executes_the_workflows_of_all_apps(
    project: Project,
) -> None:
    program = project.manage("migrate")
    assert "Creating the tables of owsuper in schema openworkflow" in program.stdout.text
    assert "Creating" not in project.manage("migrate").stdout.text
    assert "No changes detected" in project.manage("makemigrations", "--check").stdout.text

    worker = project.worker()
    assert "workflows=2" in worker.stderr.text
    assert project.python(RUN).stdout.text == "shipped tea\nshipped tea\nTrue\n"

    listed = project.manage("owsuper", "runs", "list", "--json").stdout.text
    assert [run["workflow_name"] for run in json.loads(listed)["runs"]] == [
        "ship_async",
        "ship-order",
    ]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "preload" not in worker.stderr.text
    assert "WARNING" not in worker.stderr.text


@pytest.mark.once
def test_the_command_has_the_options_and_exit_codes_of_owsuper(migrated: Project) -> None:
    help_text = migrated.manage("owsuper", "--help").stdout.text
    assert "owsuper runs show" in help_text
    assert migrated.manage("help", "owsuper").stdout.text == help_text

    assert migrated.manage("owsuper", "migrate", "--check").stderr.text.count("up to date") == 1
    wrong = migrated.manage("owsuper", "runs", "list", "--sattus", "failed", code=2)
    assert "did you mean --status?" in wrong.stderr.text

    worker = migrated.manage("owsuper", "worker", "--burst", "--settings=mysite.settings")
    assert "stopping, because of --burst" in worker.stderr.text
    worker = migrated.manage("owsuper", "--burst", "--module", "shop.workflows")
    assert "workflows=2" in worker.stderr.text


@pytest.mark.once
def test_call_command_returns_what_is_printed_and_raises_what_fails(migrated: Project) -> None:
    program = migrated.python("""
        import io
        from django.core.management import CommandError, call_command
        out = io.StringIO()
        call_command("owsuper", "runs", "count", "--json", stdout=out)
        print(out.getvalue())
        try:
            call_command("owsuper", "runs", "show", "0")
        except CommandError as error:
            print(error.returncode, error)
    """)
    counts, error = program.stdout.text.split()[0], program.stdout.text.splitlines()[-1]
    assert json.loads(counts)["pending"] == 0
    assert error.startswith("1 Workflow run 0 does not exist")


@pytest.mark.once
def test_flags_win_over_the_settings_which_win_over_the_environment(migrated: Project) -> None:
    migrated.configure('OWSUPER = {"SCHEMA": "flows", "NAMESPACE": "mine", "MIGRATE": False}')
    env = {"OWSUPER_SCHEMA": "other", "OWSUPER_NAMESPACE": "other"}
    missing = migrated.manage("owsuper", "runs", "list", code=1, env=env)
    assert '"flows"' in missing.stderr.text
    migrated.manage("migrate", "--verbosity=0")
    migrated.manage("owsuper", "runs", "list", code=1)  # MIGRATE is off
    migrated.manage("owsuper", "migrate")
    migrated.manage("owsuper", "runs", "list", env=env)
    none = migrated.manage("owsuper", "runs", "show", "0", code=1)
    assert 'namespace "mine", schema "flows"' in none.stderr.text
    none = migrated.manage("owsuper", "runs", "show", "0", "--namespace=flag", code=1)
    assert 'namespace "flag", schema "flows"' in none.stderr.text


@pytest.mark.once
def test_another_alias_is_used_for_everything(project: Project) -> None:
    lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(project.root / "lite.db")}
    project.configure(f"""
DATABASES = {{"default": {lite!r}, "flows": DATABASES["default"]}}
OWSUPER = {{"DATABASE": "flows", "PROCESSES": 1}}
""")
    assert "Creating" not in project.manage("migrate").stdout.text
    assert "Creating" in project.manage("migrate", "--database=flows").stdout.text
    project.worker()
    program = project.python(
        RUN
        + """
from owsuper.django.models import WorkflowRun
print(WorkflowRun.objects.filter(status="completed").count())
"""
    )
    assert program.stdout.text == "shipped tea\nshipped tea\nTrue\n2\n"


@pytest.mark.once
def test_a_program_may_start_a_worker_of_the_project(migrated: Project) -> None:
    program = migrated.python(
        "from owsuper.django import ow\n"
        "if __name__ == '__main__':\n    with ow.new_worker():\n"
        + "\n".join(f"        {line}" for line in RUN.strip().splitlines())
    )
    assert program.stdout.text == "shipped tea\nshipped tea\nTrue\n"
