"""The development server: reloads, transactions of requests."""

from __future__ import annotations

import os
import urllib.error
import urllib.request

import pytest

from tests.django.conftest import PATIENCE, Project
from tests.fixtures.ports import free_port, wait_until_accepting
from tests.supervisor.test_watching import await_watch

pytestmark = [pytest.mark.slow, pytest.mark.once]


def ask(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/{path}", timeout=PATIENCE
        ) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


# The server says which files it has seen. A change before that is none to it.
LOG_OF_RELOADER = """
LOGGING = {
    "version": 1,
    "handlers": {"all": {"class": "logging.StreamHandler"}},
    "loggers": {"django.utils.autoreload": {"handlers": ["all"], "level": "DEBUG"}},
}
"""


def count(project: Project) -> list[tuple[str]]:
    with project.connect() as conn:
        return conn.execute("SELECT status FROM openworkflow.workflow_runs").fetchall()


def test_code_that_changes_is_reloaded_by_the_server_and_by_the_worker(migrated: Project) -> None:
    pytest.importorskip("watchfiles")
    migrated.configure(LOG_OF_RELOADER)
    port = free_port()
    server = migrated.start("-u", "manage.py", "runserver", str(port))
    worker = migrated.start("manage.py", "owsuper", "--watch")
    server.stdout.wait_for("Quit the server", timeout=PATIENCE)
    wait_until_accepting(port, PATIENCE)
    worker.stderr.wait_for("ready: ", timeout=PATIENCE)
    assert ask(port, "order/tea") == 200  # so the server has connections of owsuper's
    script = "from shop.workflows import ship\nprint(ship.run(1).result(timeout='90s'))\n"
    assert migrated.python(script).stdout.text == "shipped tea\n"

    server.stderr.wait_for("shop/workflows.py first seen", timeout=PATIENCE)
    await_watch(worker)
    source = migrated.root / "shop/workflows.py"
    changed = migrated.root / "workflows.new"
    changed.write_text(source.read_text().replace("shipped {", "sent {"))
    os.utime(changed, (2_000_000_000, 2_000_000_000))  # runserver compares times
    changed.replace(source)  # once, or it might reload twice
    server.stderr.wait_for("shop/workflows.py changed, reloading", timeout=PATIENCE)
    server.stdout.wait_for("Quit the server", count=2, timeout=PATIENCE)
    wait_until_accepting(port, PATIENCE)
    worker.stderr.wait_for("reloaded", timeout=PATIENCE)
    assert ask(port, "order/milk") == 200
    assert migrated.python(script).stdout.text == "sent tea\n"


def test_a_run_that_joins_the_transaction_of_its_request_is_rolled_back_with_it(
    migrated: Project,
) -> None:
    requests = """
from django.test import Client
client = Client(raise_request_exception=False)
print(client.get("/order/impossible").status_code, client.get("/order/tea").status_code)
"""
    migrated.configure(ATOMIC_REQUESTS=True)
    assert migrated.python(requests).stdout.text == "500 200\n"
    assert len(count(migrated)) == 2  # the one without a connection stays
    views = (migrated.root / "shop/views.py").read_text()
    migrated.write("shop/views.py", views.replace("order.pk)", 'order.pk, connection="default")'))
    assert migrated.python(requests).stdout.text == "500 200\n"
    assert len(count(migrated)) == 3
