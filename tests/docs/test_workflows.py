"""docs/workflows.md: its examples run as it describes."""

from __future__ import annotations

import json
import re
import shlex

import psycopg
import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/workflows.md")


@PAGE.covers("step-failed")
def test_an_exhausted_step_can_be_caught(connected: Sandbox) -> None:
    connected.write("quotes.py", PAGE["step-failed"])
    connected.worker("owsuper --processes 1 --module quotes.py").stderr.wait_for("ready: ")
    program = "from quotes import quote; print(quote.run('1-56').result(timeout=30))"
    printed = connected.run(f"python -c {shlex.quote(program)}")
    assert printed == "1-56: as listed, because the publisher's line is busy\n"


@PAGE.covers("endless")
def test_an_endless_workflow_continues_as_new(connected: Sandbox) -> None:
    connected.write("monitor.py", PAGE["endless"].replace("range(100)", "range(2)"))
    connected.worker("owsuper --processes 1 --module monitor.py").stderr.wait_for("ready: ")
    run_id = connected.run(
        """owsuper start monitor --input '{"url": "http://localhost/down"}'"""
    ).strip()
    waited = connected.run(f"owsuper runs wait {run_id}")
    assert json.loads(waited) == {"url": "http://localhost/down", "checks": 3, "failures": 3}
    shown = connected.run(f"owsuper runs show {run_id}")
    assert (after := re.search(r"^continued as +(\S+)$", shown, re.M))
    assert re.search(
        rf"^continues +{run_id}$", connected.run(f"owsuper runs show {after[1]}"), re.M
    )


@PAGE.covers("parallel")
def test_steps_run_in_parallel_in_sync_and_async_workflows(connected: Sandbox) -> None:
    connected.write("words.py", PAGE["parallel"])
    connected.worker("owsuper --processes 1 --module words.py").stderr.wait_for("ready: ")
    connected.write(
        "ask.py",
        "from words import compare, count\n"
        "words = ['a', 'bcd', 'ef']\n"
        "print(compare.run(words).result(timeout=30), count.run(words).result(timeout=30))\n",
    )
    assert connected.run("python ask.py") == "[1, 3, 2] 6\n"


@PAGE.covers("attributes")
def test_the_code_of_a_run_sets_attributes(connected: Sandbox) -> None:
    connected.write("packing.py", PAGE["attributes"])
    connected.worker("owsuper --processes 1 --module packing.py").stderr.wait_for("ready: ")
    program = (
        "from packing import pack; run = pack.run(7, attributes={'tenant': '7'});"
        " run.result(timeout=30); print(run.details().attributes)"
    )
    printed = connected.run(f"python -c {shlex.quote(program)}")
    assert printed == "{'packed': 'yes', 'scale': '3', 'tenant': '7'}\n"


@PAGE.covers("current")
def test_code_without_a_step_object_knows_its_run(connected: Sandbox) -> None:
    connected.write("audit.py", PAGE["current"])
    connected.worker("owsuper --processes 1 --module audit.py").stderr.wait_for("ready: ")
    program = "from audit import audit, describe; print(audit.run().result(timeout=30), describe())"
    printed = connected.run(f"python -c {shlex.quote(program)}")
    assert printed == "audit, check, attempt 1 in no run\n"


DJANGO = """
import os

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

where = conninfo_to_dict(os.environ["OWSUPER_DATABASE_URL"])
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": where.get("dbname"), "USER": where["user"],
    "PASSWORD": where.get("password"), "HOST": where.get("host"), "PORT": where.get("port"),
    "CONN_MAX_AGE": int(os.environ["CONN_MAX_AGE"]),
    "OPTIONS": {"application_name": os.environ["OWSUPER_SCHEMA"]}}})
django.setup()

from django.db import connection
from orm import ow
from owsuper import RetryPolicy, Step


def query() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 7")
        return cursor.fetchone()[0]


@ow.workflow
def report(step: Step) -> int:
    retry = RetryPolicy(initial_interval="10ms", maximum_attempts=2)
    return step.run("query", query, retry=retry)
"""


@pytest.mark.slow
@pytest.mark.parametrize("max_age", [0, 600])
@PAGE.covers("django")
def test_a_step_with_django_outlives_its_connection(
    connected: Sandbox, conn: psycopg.Connection, schema: str, max_age: int
) -> None:
    connected.env["CONN_MAX_AGE"] = str(max_age)
    connected.write("orm.py", PAGE["django"])
    connected.write("reports.py", DJANGO)
    connected.worker("owsuper --processes 1 --no-preload --module reports.py").stderr.wait_for(
        "ready: "
    )
    program = "from reports import report; print(report.run().result(timeout=60))"
    for _ in range(2):
        assert connected.run(f"python -c {shlex.quote(program)}") == "7\n"
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            (schema,),
        )


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
