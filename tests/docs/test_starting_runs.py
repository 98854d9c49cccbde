"""What docs/starting-runs.md says of starting, waiting and canceling is so."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

STARTING = Document("docs/starting-runs.md")
README = Document("README.md")
README.covers("flows")


@pytest.fixture
def shop(connected: Sandbox) -> Sandbox:
    """The directory of the examples; nobody serves them yet."""
    connected.write("shop.py", STARTING["shop"])
    return connected


@STARTING.covers("shop", "start")
def test_runs_are_started_in_every_way(shop: Sandbox) -> None:
    shop.write("start.py", STARTING["start"])
    shop.worker("owsuper --processes 1 --module shop.py")
    assert shop.run("python start.py") == "1\n[1, 2]\n3\n1\n"


@STARTING.covers("wrong", "wrong-printed")
def test_what_does_not_fit_is_refused_by_the_name_of_its_field(shop: Sandbox) -> None:
    shop.write("wrong.py", STARTING["wrong"])
    assert shop.run("python wrong.py") == STARTING["wrong-printed"]
    assert '"pending":0' in shop.run("owsuper runs count --json")


def test_what_was_not_checked_fails_the_run_with_the_same_message(shop: Sandbox) -> None:
    refused = STARTING["wrong-printed"].splitlines()[0]
    shop.worker("owsuper --processes 1 --module shop.py")
    asked = shop.start("""owsuper start order --input '{"user_id": "seven", "items": []}' --wait""")
    assert asked.wait() == 1
    assert f"Workflow order failed: InvalidData: {refused}" in asked.stderr.text


@STARTING.covers("key")
def test_the_same_key_means_the_same_run(shop: Sandbox) -> None:
    shop.write("key.py", STARTING["key"])
    shop.worker("owsuper --processes 1 --module shop.py")
    assert shop.run("python key.py") == "True 1\n"


@STARTING.covers("id")
def test_an_id_of_your_own_starts_one_run(shop: Sandbox) -> None:
    shop.write("chosen_id.py", STARTING["id"])
    shop.worker("owsuper --processes 1 --module shop.py")
    assert shop.run("python chosen_id.py") == "order-17 1\n"
    assert shop.run("owsuper start order --id order-17") == "order-17\n"


@STARTING.covers("priorities")
def test_a_run_has_the_priority_of_its_start_or_of_its_workflow(shop: Sandbox) -> None:
    shop.write("priorities.py", STARTING["priorities"])
    assert shop.run("python priorities.py") == "50 10\n"


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_a_key_finds_a_run_in_whatever_state(shop: Sandbox, end: str) -> None:
    items, when = ("[]", "500ms") if end == "failed" else ("['tea']", "1h")
    shop.write(
        "twice.py",
        "from owsuper.errors import RunError\nfrom shop import Order, order\n"
        f"first = order.run(Order(7, {items}), idempotency_key='k', available_at='{when}')\n"
        f"if {end == 'canceled'}: first.cancel()\n"
        "try: first.result(timeout='30s')\n"
        "except RunError: pass\n"
        "again = order.run(Order(7, ['tea']), idempotency_key='k')\n"
        "print(first.id == again.id, again.status())\n",
    )
    shop.worker("owsuper --processes 1 --module shop.py")
    assert shop.run("python twice.py") == f"True {end}\n"


@STARTING.covers("attributes")
def test_runs_are_found_by_their_attributes(shop: Sandbox) -> None:
    shop.write("attributes.py", STARTING["attributes"])
    shop.run("owsuper migrate")
    printed = shop.run("python attributes.py")
    assert printed == "{'region': 'eu', 'tenant': '7'}\n2 runs of tenant 8\n"
    shop.run("owsuper start order --attribute tenant=9")
    listed = shop.run("owsuper runs list --attribute tenant=9 --json")
    assert '"attributes":{"tenant":"9"}' in listed


@STARTING.covers("limit")
def test_a_call_ends_in_time_while_the_tables_are_locked(
    shop: Sandbox, conn: psycopg.Connection, schema: str
) -> None:
    shop.write("limit.py", STARTING["limit"])
    shop.run("owsuper migrate")
    with conn.transaction():
        conn.execute(f'LOCK TABLE "{schema}".workflow_runs IN ACCESS EXCLUSIVE MODE')
        assert shop.run("python limit.py") in ("DatabaseError\n", "DatabaseUnreachable\n")
    assert '"pending":0' in shop.run("owsuper runs count --json")


@STARTING.covers("times")
def test_a_run_is_due_when_it_is_meant_to_be(shop: Sandbox) -> None:
    shop.write("times.py", STARTING["times"])
    *relative, absolute = shop.run("python times.py").splitlines()
    assert absolute == "pending 2999-01-01 00:00:00+00:00"
    assert all(re.fullmatch(r"pending 20\d\d-.*\+00:00", line) for line in relative)
    assert len(relative) == 2


@STARTING.covers("wait", "wait-printed")
def test_waiting_ends_as_shown(shop: Sandbox) -> None:
    shop.write("wait.py", STARTING["wait"])
    shop.worker("owsuper --processes 1 --module shop.py")
    assert shop.run("python wait.py") == STARTING["wait-printed"]


@STARTING.covers("patient")
@pytest.mark.parametrize("options", ["--lease 1h", "--no-listen --lease 3s"])
def test_async_code_that_is_executed_is_stopped_when_its_run_is_canceled(
    connected: Sandbox, options: str
) -> None:
    connected.write("patient.py", STARTING["patient"])
    worker = connected.worker(f"owsuper --processes 1 {options} --module patient.py")
    run_id = connected.run("owsuper start patient").strip()
    worker.stdout.wait_for("^waiting$")
    connected.run(f"owsuper runs cancel {run_id}")
    worker.stdout.wait_for("^stopped$")
    assert '"status":"canceled"' in connected.run(f"owsuper runs show {run_id} --json")


@STARTING.covers("client")
def test_a_program_needs_only_the_name_of_a_workflow(connected: Sandbox) -> None:
    connected.write("flows.py", README["flows"])
    connected.write("client.py", STARTING["client"])
    connected.worker("owsuper --processes 1 --module flows.py")
    addresses, status, address = connected.run("python client.py").splitlines()
    assert addresses == str([f"user-{number}@example.com" for number in range(3)])
    assert (status, address) == ("canceled", "user-9@example.com")


@STARTING.covers("own-worker")
def test_a_program_runs_a_worker_of_its_own(connected: Sandbox) -> None:
    connected.write("flows.py", README["flows"])
    connected.write("alone.py", STARTING["own-worker"])
    assert "user-7@example.com" in connected.run("python alone.py")


def test_every_block_of_the_page_is_executed() -> None:
    assert STARTING.unexecuted() == []
