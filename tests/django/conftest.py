"""A Django project in a directory of its own, with a database of its own."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fixtures.postgres import connect
from tests.fixtures.processes import Program, Spawn, spawning

pytest.importorskip("django")

PATIENCE = 200.0  # seconds; each command imports Django, on a machine that may be busy

SETTINGS = """
SECRET_KEY = "for tests"
DEBUG = True
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.messages", "django.contrib.sessions", "owsuper.django", "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
ROOT_URLCONF = "mysite.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
OWSUPER = {"PROCESSES": 1}
"""
URLS = """
from django.contrib import admin
from django.urls import path

import shop.views

urlpatterns = [path("admin/", admin.site.urls), path("order/<str:item>", shop.views.order)]
"""
MODELS = """
from django.db import models

class Order(models.Model):
    item = models.TextField()
    shipped = models.BooleanField(default=False)
"""
WORKFLOWS = """
from owsuper import AsyncStep, Step
from owsuper.django import ow
from shop.models import Order

@ow.workflow("ship-order")
def ship(step: Step, order_id: int) -> str:
    return step.run("ship", ship_order, order_id)

def ship_order(order_id: int) -> str:
    order = Order.objects.get(pk=order_id)
    order.shipped = True
    order.save()
    return f"shipped {order.item}"

@ow.workflow
async def ship_async(step: AsyncStep, order_id: int) -> str:
    return await step.run("ship", ship_order_async, order_id)

async def ship_order_async(order_id: int) -> str:
    order = await Order.objects.aget(pk=order_id)
    return f"shipped {order.item}"
"""
VIEWS = """
from django.http import HttpResponse
from shop.models import Order
from shop.workflows import ship

def order(request, item):
    order = Order.objects.create(item=item)
    handle = ship.run(order.pk)
    if item == "impossible":
        raise ValueError(item)
    return HttpResponse(handle.id)
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
from django.core.management import execute_from_command_line
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""


class Project:
    """``settings.OWSUPER`` and the files of the app ``shop`` may be changed before a command."""

    def __init__(self, root: Path, address: dict[str, str], spawn: Spawn) -> None:
        self.root = root
        self.address = address
        self._spawn = spawn
        self.programs: list[Program] = []
        self.database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address["dbname"],
            "USER": address["user"],
            "PASSWORD": address.get("password", ""),
            "HOST": address["host"],
            "PORT": address["port"],
        }
        self.write("manage.py", MANAGE)
        self.write("mysite/__init__.py", "")
        self.write("mysite/urls.py", URLS)
        self.write("shop/__init__.py", "")
        self.write("shop/migrations/__init__.py", "")
        self.write("shop/models.py", MODELS)
        self.write("shop/workflows.py", WORKFLOWS)
        self.write("shop/views.py", VIEWS)
        self.configure()
        self.write(
            "shop/migrations/0001_initial.py",
            """
            from django.db import migrations, models

            class Migration(migrations.Migration):
                operations = [migrations.CreateModel("Order", [
                    ("id", models.BigAutoField(primary_key=True, serialize=False, auto_created=True,
                                               verbose_name="ID")),
                    ("item", models.TextField()),
                    ("shipped", models.BooleanField(default=False)),
                ])]
            """,
        )

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def configure(self, more: str = "", **database: object) -> None:
        """Write the settings: ``more`` lines, and entries of ``DATABASES["default"]``."""
        databases = {"default": {**self.database, **database}}
        self.write("mysite/settings.py", f"DATABASES = {databases!r}\n{SETTINGS}\n{more}")

    def start(self, *argv: str, env: dict[str, str] | None = None) -> Program:
        program = self._spawn(
            *(sys.executable, *argv),
            env={"PYTHONDONTWRITEBYTECODE": "1", "OWSUPER_NAMESPACE": "", **(env or {})},
            cwd=self.root,
        )
        self.programs.append(program)
        return program

    def manage(self, *argv: str, code: int = 0, env: dict[str, str] | None = None) -> Program:
        """Run ``manage.py`` to its end."""
        return self.run("manage.py", *argv, code=code, env=env)

    def run(self, *argv: str, code: int = 0, env: dict[str, str] | None = None) -> Program:
        program = self.start(*argv, env=env)
        found = program.wait(PATIENCE)
        program.end()
        assert found == code, program.stdout.text + program.stderr.text
        return program

    def python(self, script: str, *, code: int = 0) -> Program:
        """Run a script with Django set up."""
        self.write("script.py", PREAMBLE + textwrap.dedent(script))
        return self.run("script.py", code=code)

    def worker(self, *options: str) -> Program:
        program = self.start("manage.py", "owsuper", *options)
        program.stderr.wait_for("ready: ", timeout=PATIENCE)
        return program

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(autocommit=True, **self.address)  # type: ignore[arg-type]


PREAMBLE = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
import django
django.setup()
"""


@contextmanager
def new_project(
    root: Path, database_url: str, spawn: Spawn, template: str = "template0"
) -> Iterator[Project]:
    """A project whose database is a copy of ``template``."""
    name = f"django_{uuid4().hex[:8]}"
    with connect(database_url) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        address = {**conninfo_to_dict(database_url), "dbname": name}
        project = Project(root, {key: str(value) for key, value in address.items()}, spawn)
        yield project
        for program in project.programs:
            program.end()
        for each in (name, f"test_{name}"):
            conn.execute(f"DROP DATABASE IF EXISTS {each} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def migrated_database(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with the tables of the project, and those of owsuper."""
    root = tmp_path_factory.mktemp("django")
    with spawning() as spawn, new_project(root, database_url, spawn) as project:
        project.manage("migrate", "--verbosity=0")
        yield project.address["dbname"]


@pytest.fixture
def project(tmp_path: Path, database_url: str, spawn: Spawn) -> Iterator[Project]:
    """A project whose database is empty."""
    with new_project(tmp_path, database_url, spawn) as project:
        yield project


@pytest.fixture
def migrated(
    tmp_path: Path, database_url: str, spawn: Spawn, migrated_database: str
) -> Iterator[Project]:
    """A project with its tables, and those of owsuper."""
    with new_project(tmp_path, database_url, spawn, migrated_database) as project:
        yield project
