"""Django's connections in the processes of a worker."""

from __future__ import annotations

import pytest

from tests.django.conftest import PATIENCE, Project

pytestmark = [pytest.mark.slow, pytest.mark.once]

WORKFLOWS = """
import os
from django.db import connection
from owsuper import AsyncStep, Step, current
from owsuper.django import ow
from shop.models import Order

def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]

async def abackend():
    await Order.objects.acount()
    from asgiref.sync import sync_to_async
    return await sync_to_async(backend)()

@ow.workflow
def backends(step: Step) -> list:
    return [step.run(f"step {number}", backend) for number in range(2)] + [
        connection.connection is None
    ]

@ow.workflow
async def abackends(step: AsyncStep) -> list:
    return [await step.run(f"step {number}", abackend) for number in range(2)]

@ow.workflow
def order_and_fail(step: Step, item: str) -> list:
    def write(conn):
        order = Order.objects.create(item=item)
        if current().attempt == 1:
            raise ValueError("once")
        return order.item
    return [step.transaction("write", write, using="default"), step.run("then", backend)]
"""
RUN = """
from shop.models import Order
from shop.workflows import *
one, two, closed = backends.run().result(timeout="90s")
print(one == two, closed)
one, two = abackends.run().result(timeout="90s")
print(one == two)
print(order_and_fail.run("tea").result(timeout="90s")[0], Order.objects.count())
"""


def test_connections_are_closed_between_steps_as_the_settings_say(migrated: Project) -> None:
    migrated.write("shop/workflows.py", WORKFLOWS)
    migrated.write("shop/views.py", "def order(request, item): 0\n")
    worker = migrated.worker("--concurrency=2")
    assert migrated.python(RUN).stdout.text == "False True\nFalse\ntea 1\n"
    with migrated.connect() as conn:
        conn.execute("TRUNCATE shop_order")
    worker.terminate()
    assert worker.wait() == 0
    migrated.configure(CONN_MAX_AGE=600)
    worker = migrated.worker("--concurrency=1")
    assert migrated.python(RUN).stdout.text == "True False\nFalse\ntea 1\n"


def test_a_connection_that_the_server_has_ended_is_replaced_before_the_next_step(
    migrated: Project,
) -> None:
    migrated.write("shop/workflows.py", WORKFLOWS)
    migrated.write("shop/views.py", "def order(request, item): 0\n")
    migrated.configure(CONN_MAX_AGE=600, CONN_HEALTH_CHECKS=True)
    migrated.worker("--concurrency=1")
    script = "from shop.workflows import *\nprint(backends.run().result(timeout='90s')[0])\n"
    first = int(migrated.python(script).stdout.text)
    with migrated.connect() as conn:
        conn.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
    assert int(migrated.python(script).stdout.text) != first
    with migrated.connect() as conn:
        failed = conn.execute("SELECT FROM openworkflow.step_attempts WHERE status = 'failed'")
        assert failed.fetchall() == []


@pytest.mark.parametrize("options", [{}, {"OPTIONS": {"pool": True}}], ids=["plain", "pool"])
def test_what_the_import_has_opened_is_not_inherited_by_the_children(
    migrated: Project, options: dict[str, object]
) -> None:
    migrated.write(
        "shop/workflows.py",
        WORKFLOWS + "\nfrom django.db import connection\nconnection.ensure_connection()\n",
    )
    migrated.write("shop/views.py", "def order(request, item): 0\n")
    migrated.configure(**options)
    worker = migrated.start("manage.py", "owsuper", "--processes=2")
    worker.stderr.wait_for("ready: ", timeout=PATIENCE)
    assert migrated.python(RUN).stdout.text.endswith("tea 1\n")
    assert "template" not in worker.stderr.text  # there is no warning of sockets or threads


def test_connections_of_owsuper_are_those_of_django_with_their_options(migrated: Project) -> None:
    role = f"role of {migrated.address['dbname']}"
    options = {"assume_role": role, "application_name": "a'b \\ c", "sslmode": "prefer"}
    migrated.configure(OPTIONS=options)
    script = """
    from owsuper.django import ow
    def ask(conn):
        return conn.execute("SELECT current_user, current_setting('application_name')").fetchone()
    print(ow._database.session().run(ask))
    """
    with migrated.connect() as conn:
        conn.execute(f'CREATE ROLE "{role}"'.encode())
        try:
            assert migrated.python(script).stdout.text == f"{(role, options['application_name'])}\n"
        finally:
            conn.execute(f'DROP ROLE "{role}"'.encode())
