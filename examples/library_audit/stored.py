"""Counts the stored results by SQL, independently of owsuper."""

from __future__ import annotations

import os

import psycopg
from psycopg import sql

from owsuper import embedded, setting_sources

COMPLETED_STEPS = """
    SELECT count(*) FROM {}.step_attempts WHERE namespace_id = %s AND status = 'completed'
"""


def completed_steps() -> int:
    """Return the number of completed steps in this process's namespace."""
    chosen = setting_sources.load()
    url = chosen.database_url or embedded.acquire().url
    query = sql.SQL(COMPLETED_STEPS).format(sql.Identifier(chosen.schema))
    with psycopg.connect(url, application_name=f"library audit {os.getpid()}") as conn:
        row = conn.execute(query, [chosen.namespace]).fetchone()
    assert row
    return int(row[0])
