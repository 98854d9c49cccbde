"""The fixtures that any test may request live in tests/fixtures, one plugin for each subject."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = [
    f"tests.fixtures.{subject}"
    for subject in ("cluster", "loop", "network", "pgbouncer", "postgres", "processes", "proxy")
]


def pytest_xdist_auto_num_workers() -> int:
    """The number of processes for ``-n auto``: tests wait more than they compute.

    Each process starts a database server of its own, hence the upper limit.
    """
    return min(max(3, os.cpu_count() or 1), 8)


# On a busy machine, the duration of an example means nothing, nor how long it took to make it.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
