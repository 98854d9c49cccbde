"""What docs/django.md says of projects of Django is so."""

from __future__ import annotations

import pytest

from tests.docs.documents import Document

pytest.importorskip("django")

from tests.django.conftest import PATIENCE, Project, project

pytestmark = pytest.mark.slow

__all__ = ["project"]

DJANGO = Document("docs/django.md")

URLS = """
from django.urls import path

import shop.views

urlpatterns = [path("create/<str:item>", shop.views.create)]
"""


@DJANGO.covers("settings", "workflows", "commands", "views", "tests")
def test_the_project_of_the_page_runs_and_passes_its_tests(project: Project) -> None:
    settings = (project.root / "mysite/settings.py").read_text()
    own = settings.replace('"owsuper.django", ', "").replace('OWSUPER = {"PROCESSES": 1}\n', "")
    assert "owsuper.django" not in own
    project.write("mysite/settings.py", own + DJANGO["settings"])
    project.write("mysite/urls.py", URLS)
    project.write("shop/workflows.py", DJANGO["workflows"])
    project.write("shop/views.py", DJANGO["views"])
    project.write("shop/tests.py", DJANGO["tests"])
    tests = project.manage("test", "--noinput")
    assert "Ran 3 tests" in tests.stderr.text

    migrate, worker = (line.split()[1:] for line in DJANGO["commands"].splitlines())
    project.run(*migrate)
    project.start(*worker, "--processes=1").stderr.wait_for("ready: ", timeout=PATIENCE)
    script = """
from django.test import Client
from owsuper.django import ow
handle = ow.get_run(Client().get("/create/tea").json()["run"])
print(handle.result(timeout="90s"))
"""
    assert project.python(script).stdout.text == "shipped tea\n"


def test_every_example_of_the_page_is_executed() -> None:
    assert DJANGO.unexecuted() == []
