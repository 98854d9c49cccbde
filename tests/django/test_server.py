"""The development server: reloads, transactions of requests."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request

import pytest

from tests.django.conftest import PATIENCE, Project

pytestmark = pytest.mark.slow


def ask(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/{path}", timeout=PATIENCE
        ) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def count(project: Project) -> list[tuple[str]]:
    with project.connect() as conn:
        return conn.execute("SELECT status FROM openworkflow.workflow_runs").fetchall()


def test_code_that_changes_is_reloaded_by_the_server_and_by_the_worker(migrated: Project) -> None:
    pytest.importorskip("watchfiles")
    port = free_port()
    server = migrated.start("-u", "manage.py", "runserver", str(port))
    worker = migrated.start("manage.py", "owsuper", "--watch")
    server.stdout.wait_for("Quit the server", timeout=PATIENCE)
    worker.stderr.wait_for("ready: ", timeout=PATIENCE)
    assert ask(port, "order/tea") == 200  # so the server has connections of owsuper's
    script = "from shop.workflows import ship\nprint(ship.run(1).result(timeout='90s'))\n"
    assert migrated.python(script).stdout.text == "shipped tea\n"

    source = migrated.root / "shop/workflows.py"
    changed = migrated.root / "workflows.new"
    changed.write_text(source.read_text().replace("shipped {", "sent {"))
    os.utime(changed, (2_000_000_000, 2_000_000_000))  # runserver compares times
    changed.replace(source)  # once, or it might reload twice
    server.stderr.wait_for("shop/workflows.py changed, reloading", timeout=PATIENCE)
    server.stdout.wait_for("Quit the server", count=2, timeout=PATIENCE)
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
