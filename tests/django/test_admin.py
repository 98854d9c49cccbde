"""Runs in Django's admin."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.django.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.once]

SCRIPT = """
import json, re
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from owsuper.django import ow
from shop.workflows import ship

runs = ship.run_many(range(3))
ow.run_workflow("<b>other</b>", {"text": "<script>"}, id="Order-17s").cancel()
User.objects.create_superuser("root", password="x")
client = Client()
client.force_login(User.objects.get(username="root"))
found = {}

def get(path):
    response = client.get("/admin/owsuper/workflowrun/" + path)
    text = response.content.decode()
    return response.status_code, [run.id in text for run in runs], text

status, shown, text = get("")
found["list"] = status, shown, "&lt;b&gt;other" in text, "Add run" in text
status, shown, text = get("?status__exact=canceled")
found["canceled"] = status, shown, "&lt;b&gt;other" in text
with CaptureQueriesContext(connection, ) as queries:
    found["search"] = get("?q=" + runs[1].id[:-3].upper())[:2]
found["sql"] = [query["sql"] for query in queries if "workflow_runs" in query["sql"]]
found["nothing"] = get("?q=zz")[:2]
found["chosen"] = ["&lt;b&gt;other" in get("?q=" + typed)[2] for typed in ("Order", "Order-17")]
status, shown, text = get(runs[0].id + "/change/")
found["change"] = status, "Save" in text, "Delete" in text, "dashboard" in text
found["unknown"] = [get(id + "/change/")[0] for id in ("%00", "unknown")]
found["link"] = re.findall('href="(https://ops[^"]*)"', text)
found["forbidden"] = [
    client.get("/admin/owsuper/workflowrun/add/").status_code,
    client.get(f"/admin/owsuper/workflowrun/{runs[0].id}/delete/").status_code,
    client.post(f"/admin/owsuper/workflowrun/{runs[0].id}/change/", {"status": "x"}).status_code,
]
User.objects.create_user("staff", password="x", is_staff=True)
client.force_login(User.objects.get(username="staff"))
found["staff"] = get("")[0]
print(json.dumps(found))
"""


def test_runs_are_listed_found_and_shown_but_not_changed(migrated: Project) -> None:
    found = json.loads(migrated.python(SCRIPT).stdout.text)
    assert found["list"] == [200, [True] * 3, True, False]
    assert found["canceled"] == [200, [False] * 3, True]
    assert found["search"] == [200, [False, True, False]]
    assert found["nothing"] == [200, [False] * 3]
    assert found["chosen"] == [True, True]
    assert found["change"] == [200, False, False, False]
    assert found["unknown"] == [302, 302]
    assert found["link"] == []
    assert found["forbidden"] == [403, 403, 403]
    assert found["staff"] == 403
    assert len(found["sql"]) >= 2
    _check_plans(migrated, found["sql"])


def _check_plans(project: Project, statements: list[str]) -> None:
    """The statements use indexes, also of a large table."""
    with project.connect() as conn:
        conn.execute(
            "INSERT INTO openworkflow.workflow_runs SELECT 'default', gen_random_uuid()::text, 'w',"
            " NULL, 'completed', NULL, '{}', NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL,"
            " NULL, now(), now(), now(), now() FROM generate_series(1, 20000)"
        )
        conn.execute("ANALYZE openworkflow.workflow_runs")
        for statement in statements:
            plan = _explain(conn, statement)
            assert "Seq Scan" not in plan, plan


def _explain(conn: psycopg.Connection, statement: str) -> str:
    return "\n".join(line for (line,) in conn.execute(f"EXPLAIN {statement}".encode()))


LARGE = """
large = ow.run_workflow("large", {"text": "<i>" * 4_000_000})
with connection.cursor() as cursor:
    cursor.execute(
        "INSERT INTO openworkflow.step_attempts (namespace_id, id, workflow_run_id, step_name,"
        " kind, status, config, output, created_at, updated_at) SELECT 'default', number::text, %s,"
        " '<b>' || number, 'function', 'completed', '{}', input, now(), now()"
        " FROM openworkflow.workflow_runs, generate_series(1, 3) AS number WHERE id = %s",
        [large.id, large.id],
    )
with CaptureQueriesContext(connection) as queries:
    listed = get("")[0]
sql = [query["sql"] for query in queries if "workflow_runs" in query["sql"]]
status, _, text = get(large.id + "/change/")
print(json.dumps({
    "list": [listed, [each for each in sql if '"input"' in each]],
    "change": [status, text.count("12000012 characters"), "<i>" in text, "<b>1" in text],
    "size": len(text),
}))
"""


def test_large_values_are_not_read_for_a_list_and_cut_on_the_page_of_a_run(
    migrated: Project,
) -> None:
    script = SCRIPT.split("status, shown, text = get(")[0] + LARGE
    found = json.loads(migrated.python(script).stdout.text)
    assert found["list"] == [200, []]
    assert found["change"] == [200, 4, False, False]
    assert found["size"] < 1_000_000


def test_there_is_a_link_to_each_run_if_the_settings_have_an_address(migrated: Project) -> None:
    migrated.configure('OWSUPER = {"RUN_URL": "https://ops.example.com/runs/{id}?tab=1"}')
    script = SCRIPT.split("status, shown, text = get(")[0]
    program = migrated.python(
        script
        + """
text = get(runs[0].id + "/change/")[2]
print(re.findall('href="(https://ops[^"]*)"', text) == [
    f"https://ops.example.com/runs/{runs[0].id}?tab=1"])
from owsuper.django.models import WorkflowRun
rows = WorkflowRun.objects.all()
for change in (
    rows[0].save, rows[0].delete, rows.delete, WorkflowRun.objects.create,
    lambda: rows.update(status="canceled"), lambda: rows.bulk_update(list(rows), ["status"]),
    lambda: WorkflowRun.objects.bulk_create(list(rows)),
):
    try:
        change()
    except TypeError as error:
        print(error)
"""
    )
    printed = program.stdout.text.splitlines()
    assert printed[0] == "True"
    assert len(printed) == 8
    assert {line.partition(";")[0] for line in printed[1:]} == {"the rows of owsuper are read-only"}
