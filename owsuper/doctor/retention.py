"""Who deletes runs that ended long ago, and whether anybody does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson
from psycopg import Connection

from owsuper.db.pruning import PruneQueries
from owsuper.doctor.findings import CheckResult, ok, warning
from owsuper.settings import Settings

_SUBJECT: Final = "retention"
_MANY: Final = 1_000_000  # runs
_RUNS: Final = b"SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)"


def check(conn: Connection[Any], settings: Settings) -> Iterator[CheckResult]:
    """Say what workers delete, or that nobody deletes anything."""
    statement, params = PruneQueries(settings.schema, settings.namespace).rules()
    [(text,)] = conn.execute(statement.query, params).fetchall()
    rules = [", ".join(each) for each in orjson.loads(text)]
    if settings.retain and not rules:
        rules.append(", ".join(settings.retain))
    if rules:
        different = sorted(set(rules))
        more = "; the longest one counts" if len(different) > 1 else ""
        yield ok(_SUBJECT, f"runs that ended are deleted: {' and '.join(different)}{more}")
        return
    [(count,)] = conn.execute(_RUNS, [f'"{settings.schema}".workflow_runs']).fetchall()
    if count is not None and count >= _MANY:
        yield warning(
            _SUBJECT,
            f"off: there are about {count:,} runs, and no worker deletes those that ended",
            "Start workers with --retain 30d, or delete runs with owsuper prune.",
        )
    else:
        yield ok(_SUBJECT, "off: runs that ended are kept for ever (--retain, owsuper prune)")
