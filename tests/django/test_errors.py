"""What a project that is not set up right is told."""

from __future__ import annotations

import pytest

from tests.django.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.once]

SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}


def test_mistakes_in_the_settings_end_every_command_of_the_project(project: Project) -> None:
    project.configure('OWSUPER = {"PROCESES": 1}')
    assert "did you mean PROCESSES?" in project.manage("check", code=1).stderr.text


def test_a_database_that_cannot_be_used_is_found_by_check_and_named_by_the_worker(
    project: Project,
) -> None:
    project.configure('OWSUPER = {"DATABASE": "flows"}')
    missing = """there is no 'flows' in DATABASES, which has 'default'"""
    found = project.manage("check", code=1).stderr.text
    assert "(owsuper.E001)" in found
    assert missing in found
    assert missing in project.manage("owsuper", code=2).stderr.text

    project.configure(f'DATABASES["default"] = {SQLITE!r}')
    wrong = "DATABASES['default'] is one of sqlite, and owsuper needs PostgreSQL"
    assert wrong in project.manage("check", code=1).stderr.text
    outside = project.run("-m", "owsuper", "--module", "owsuper.django.project", code=3)
    assert "DJANGO_SETTINGS_MODULE is not set" in outside.stderr.text


def test_code_that_comes_before_the_setup_of_django_is_told_so(project: Project) -> None:
    project.write("shop/simple.py", "from owsuper.django import ow\n@ow.workflow\ndef w(step): 0\n")
    project.write(
        "early.py",
        """
        import os
        from owsuper.django import ow
        from owsuper.errors import ConfigurationError
        for settings in (None, "mysite.settings"):
            if settings:
                os.environ["DJANGO_SETTINGS_MODULE"] = settings
            try:
                ow.count_runs()
            except ConfigurationError as error:
                print(error)
        """,
    )
    unconfigured, unready = project.run("early.py").stdout.text.splitlines()
    assert "settings are not configured" in unconfigured
    assert unconfigured.endswith("as manage.py does, and call django.setup().")
    assert unready.startswith("Django's apps are not loaded yet. Call django.setup() first")

    env = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
    program = project.run("-m", "owsuper", "--module", "shop.workflows", code=3, env=env)
    assert "AppRegistryNotReady" in program.stderr.text
    assert "manage.py owsuper worker" in program.stderr.text
    program = project.run("-m", "owsuper", "--module", "shop.simple", code=3, env=env)
    assert "Django's apps are not loaded yet" in program.stderr.text
    assert "Traceback" not in program.stderr.text


def test_a_worker_needs_the_app_and_a_workflow(project: Project) -> None:
    project.write("shop/workflows.py", "")
    project.write("shop/views.py", "def order(request, item): 0\n")
    program = project.manage("owsuper", "worker", code=3)
    assert "no app has a workflow" in program.stderr.text
    project.configure('INSTALLED_APPS.remove("owsuper.django")')
    env = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
    program = project.run("-m", "owsuper", "--module", "owsuper.django.project", code=3, env=env)
    assert '"owsuper.django" is not in INSTALLED_APPS' in program.stderr.text
