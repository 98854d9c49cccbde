"""The fixtures that any test may ask for live in tests/fixtures, one plugin a subject."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = [
    f"tests.fixtures.{subject}"
    for subject in ("cluster", "network", "pgbouncer", "postgres", "processes", "proxy")
]

# How long an example takes says nothing on a busy machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
