"""Tests of a project, by ``manage.py test``: what becomes of runs that they start."""

from __future__ import annotations

import pytest

from tests.django.conftest import Project

pytestmark = pytest.mark.slow

TESTS = """
from django.test import TestCase, TransactionTestCase
from owsuper import OpenWorkflow, ThreadWorker
from owsuper.django import ow
from owsuper.django.models import WorkflowRun
from owsuper.django.test import WorkerTestCase
from owsuper.errors import ConfigurationError, RunNotFound
from owsuper.testing import run_in_process
from shop.models import Order
from shop.workflows import ship, ship_async


class AJoinedRun(TestCase):
    def test_is_as_well_seen_by_the_test_and_rolled_back_after_it(self):
        order = Order.objects.create(item="tea")
        handle = ship.run(order.pk, idempotency_key="order", connection="default")
        self.assertEqual(WorkflowRun.objects.get().id, handle.id)
        with self.assertRaises(RunNotFound):
            handle.status()

    def test_is_gone_in_the_next_test(self):
        self.assertFalse(WorkflowRun.objects.exists())

    def test_of_which_one_that_is_not_joined_stays(self):
        ship.run(7)
        self.assertEqual(WorkflowRun.objects.count(), 1)


class AStep(TestCase):
    def test_executed_in_the_test_sees_its_rows(self):
        order = Order.objects.create(item="tea")
        self.assertEqual(run_in_process(ship, order.pk).result, "shipped tea")
        self.assertTrue(Order.objects.get(pk=order.pk).shipped)


class AWorker(WorkerTestCase):
    worker_options = {"concurrency": 2}

    def test_begins_without_runs_of_other_tests(self):
        self.assertFalse(WorkflowRun.objects.exists())
        ship.run(7, idempotency_key="key")

    def test_begins_without_their_keys(self):
        order = Order.objects.create(item="tea")
        handle = ship.run(order.pk, idempotency_key="key")
        self.assertEqual(handle.result(timeout="90s"), "shipped tea")
        self.assertEqual(ship_async.run(order.pk).result(timeout="90s"), "shipped tea")

    def test_of_its_own_processes_is_refused(self):
        with self.assertRaisesMessage(ConfigurationError, "WorkerTestCase"):
            ow.new_worker()


class ADatabase(TransactionTestCase):
    def test_can_be_dropped_although_a_client_has_used_it(self):
        self.assertGreaterEqual(ow.count_runs().pending, 0)
"""


def test_runs_of_tests_are_rolled_back_or_executed_and_the_database_is_dropped(
    project: Project,
) -> None:
    project.configure(CONN_MAX_AGE=600)  # connections that last would be in the way of dropping it
    project.write("shop/tests.py", TESTS)
    program = project.manage("test", "--noinput")
    assert "Ran 8 tests" in program.stderr.text
    assert "OK" in program.stderr.text
    with project.connect() as conn:
        [names] = conn.execute("SELECT array_agg(datname) FROM pg_database").fetchall()
    assert f"test_{project.address['dbname']}" not in names[0]


def test_tests_run_in_parallel_each_in_a_database_of_its_own(project: Project) -> None:
    one = """
from owsuper.django import ow
from owsuper.django.test import WorkerTestCase
from shop.models import Order
from shop.workflows import ship

class Case{number}(WorkerTestCase):
    def test_ships(self):
        order = Order.objects.create(item="tea")
        self.assertEqual(ship.run(order.pk).result(timeout="90s"), "shipped tea")
        self.assertEqual(ow.count_runs().completed, 1)
"""
    project.write("shop/tests.py", "".join(one.format(number=number) for number in (1, 2)))
    program = project.manage("test", "--noinput", "--parallel=2")
    assert "Ran 2 tests" in program.stderr.text


def test_a_worker_is_not_started_on_a_database_that_is_not_one_of_tests(project: Project) -> None:
    project.configure('OWSUPER = {"DATABASE_URL": "postgresql://127.0.0.1:1/production"}')
    project.write(
        "shop/tests.py",
        """
        from owsuper.django.test import WorkerTestCase
        class Case(WorkerTestCase):
            def test_nothing(self):
                pass
        """,
    )
    program = project.manage("test", "--noinput", code=1)
    assert "tests would use the same database as the project" in program.stderr.text
