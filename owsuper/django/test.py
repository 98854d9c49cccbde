"""Tests of a Django project with a worker."""

from __future__ import annotations

from typing import Any, ClassVar

from django.test import TransactionTestCase

from owsuper.django.application import ow
from owsuper.django.databases import FreshConnections, project_settings
from owsuper.errors import ConfigurationError
from owsuper.testing import database
from owsuper.thread_worker import ThreadWorker


class WorkerTestCase(TransactionTestCase):
    """A TransactionTestCase with a worker, in threads of this process, on the database of tests.

    Each test begins without runs. ``worker_options`` are those of :class:`owsuper.ThreadWorker`.
    """

    worker_options: ClassVar[dict[str, Any]] = {}
    worker: ClassVar[ThreadWorker]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the worker. Raises ConfigurationError for a database that tests do not replace."""
        super().setUpClass()
        if project_settings().alias is None:
            raise ConfigurationError(
                'WorkerTestCase: with OWSUPER["DATABASE_URL"], tests would use the same database as'
                ' the project. Use OWSUPER["DATABASE"], an alias of DATABASES, at least in tests.'
            )
        FreshConnections.keep = False
        cls.addClassCleanup(setattr, FreshConnections, "keep", True)
        cls.addClassCleanup(ow.close)
        cls.worker = cls.enterClassContext(ThreadWorker(ow, **cls.worker_options))

    def setUp(self) -> None:
        """Delete the runs of earlier tests."""
        super().setUp()
        used = ow.explicit
        database.clear(used.database_url or "", project_settings().schema)
