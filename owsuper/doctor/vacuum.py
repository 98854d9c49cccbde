"""Autovacuum, what holds it back, and what dead rows have left behind in the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from psycopg import Connection

from owsuper.doctor.findings import CheckResult, ok, problem, warning

_SUBJECT: Final = "vacuum"
_OLD: Final = 300.0  # seconds; until then a dead row may stay
_MANY: Final = 50_000  # dead rows of a table
_LARGE: Final = 64 * 1024 * 1024  # bytes; a smaller table may be as sparse as it likes
_SPARSE: Final = 4  # times the size that its rows need
_WRAPAROUND: Final = 1_000_000_000  # transactions; half of what stops a server

_TABLES: Final = """
    SELECT
        c.relname, pg_relation_size(c.oid), pg_table_size(c.oid), pg_indexes_size(c.oid),
        coalesce(s.n_live_tup, 0), coalesce(s.n_dead_tup, 0),
        coalesce(s.last_autovacuum, s.last_vacuum) IS NULL
            AND coalesce(s.last_autoanalyze, s.last_analyze) IS NULL,
        coalesce('autovacuum_enabled=false' = ANY (c.reloptions)
            OR 'autovacuum_enabled=off' = ANY (c.reloptions), false),
        -- 28 bytes of header and pointer; a page is never quite full. Of a long value, which is
        -- stored elsewhere, avg_width is the pointer: this is about the table without its TOAST.
        greatest(c.reltuples, 0) * (28 + coalesce((
            SELECT sum(avg_width * (1 - null_frac)) FROM pg_stats AS w
            WHERE w.schemaname = n.nspname AND w.tablename = c.relname
        ), 0)) / 0.8
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
    WHERE n.nspname = $1 AND c.relkind = 'r'
    ORDER BY c.relname
"""
_HOLDERS: Final = """
    SELECT 'session ' || pid || ' (' || coalesce(nullif(application_name, ''), usename, '?')
            || ', ' || coalesce(state, '?') || ')',
        extract(epoch FROM now() - xact_start)::double precision,
        'SELECT pg_terminate_backend(' || pid || ')'
    FROM pg_stat_activity
    WHERE xact_start < now() - $1::double precision * interval '1 second'
        AND backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
    UNION ALL
    SELECT 'prepared transaction ' || gid,
        extract(epoch FROM now() - prepared)::double precision,
        'ROLLBACK PREPARED ' || quote_literal(gid)
    FROM pg_prepared_xacts
    WHERE prepared < now() - $1::double precision * interval '1 second'
    ORDER BY 2 DESC
    LIMIT 5
"""
_SLOTS: Final = """
    SELECT slot_name, greatest(age(xmin), age(catalog_xmin))
    FROM pg_replication_slots
    WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL)
"""


def check(conn: Connection[Any], schema: str) -> Iterator[CheckResult]:
    """Check autovacuum, old transactions, dead rows and bloat."""
    tables = conn.execute(_TABLES.encode(), [schema]).fetchall()
    found = [*_server(conn), *_holders(conn), *_tables(tables, schema)]
    yield from found or [ok(_SUBJECT, "it keeps up; nothing holds it back")]
    yield from _sizes(tables)


def _server(conn: Connection[Any]) -> Iterator[CheckResult]:
    row = conn.execute(
        b"SELECT current_setting('autovacuum'), current_setting('track_counts'),"
        b" (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    autovacuum, track_counts, age = row
    if "off" in (autovacuum, track_counts):
        yield problem(
            _SUBJECT,
            "autovacuum is off: claims get slower with every run that was ever claimed",
            "Set autovacuum = on and track_counts = on, and reload the server.",
        )
    if age > _WRAPAROUND:
        yield problem(
            _SUBJECT,
            f"the oldest transaction id of the database is {age:,} transactions old, and the server"
            " stops at 2 billion",
            "Find out what holds vacuum back (old transactions, slots), then VACUUM FREEZE.",
        )


def _holders(conn: Connection[Any]) -> Iterator[CheckResult]:
    for holder, seconds, mend in conn.execute(_HOLDERS.encode(), [_OLD]).fetchall():
        yield warning(
            _SUBJECT,
            f"{holder} has had a transaction open for {seconds / 60:.0f} minutes: no dead row of"
            " that time can be removed, and claims get slower",
            f"Find out what it does, and end it: {mend}",
        )
    for slot, age in conn.execute(_SLOTS.encode()).fetchall():
        yield warning(
            _SUBJECT,
            f"nobody uses the replication slot {slot}, which keeps the dead rows of the last"
            f" {age:,} transactions",
            f"If its replica is gone for good: SELECT pg_drop_replication_slot('{slot}')",
        )


def _sizes(tables: list[tuple[Any, ...]]) -> Iterator[CheckResult]:
    """Say how large the tables are, and how much of that their rows need."""
    heaps, needed = (sum(float(row[column]) for row in tables) for column in (1, 8))
    all_tables, indexes = (sum(row[column] for row in tables) for column in (2, 3))
    if heaps < _LARGE:
        return
    empty = max(0.0, 1 - needed / heaps)
    yield ok(
        _SUBJECT,
        f"the tables take {_mebibytes(all_tables)}, about {empty:.0%} of it empty or dead; the"
        f" indexes take {_mebibytes(indexes)}",
    )


def _tables(tables: list[tuple[Any, ...]], schema: str) -> Iterator[CheckResult]:
    for row in tables:
        name, heap_size, size, index_size, live, dead, never, disabled, needed = row
        table = f'"{schema}".{name}'
        if disabled:
            yield problem(
                _SUBJECT,
                f"autovacuum is off for {name}",
                f"ALTER TABLE {table} RESET (autovacuum_enabled)",
            )
        if dead > _MANY and dead > live:
            yield warning(
                _SUBJECT,
                f"{name} has {dead:,} dead rows beside {live:,} others",
                f"VACUUM {table}; if they stay, an old transaction holds them",
            )
        elif heap_size > _LARGE and needed and heap_size > _SPARSE * needed:
            yield warning(
                _SUBJECT,
                f"{name} takes {_mebibytes(heap_size)}, about {heap_size / needed:.0f} times what"
                " its rows need",
                f"VACUUM FULL {table} (which locks the table), or pg_repack",
            )
        if index_size > _LARGE and index_size > _SPARSE * size:
            yield warning(
                _SUBJECT,
                f"the indexes of {name} take {_mebibytes(index_size)}, and the table"
                f" {_mebibytes(size)}",
                f"REINDEX TABLE CONCURRENTLY {table}",
            )
        if never and live > _MANY:
            yield warning(
                _SUBJECT,
                f"{name} has {live:,} rows and was never vacuumed or analyzed",
                f"VACUUM (ANALYZE) {table}",
            )


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MB"
