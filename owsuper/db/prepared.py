"""The frequent statements of children, sent through libpq without a cursor.

A small statement takes 100 µs of processor time with a cursor, most of it under the interpreter's
lock, and 25 µs without.
"""

from __future__ import annotations

import itertools
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import Connection, pq

from owsuper.db import connect
from owsuper.db.pooler import LOCAL
from owsuper.db.statement import UNUSABLE_PLAN, Param, Statement, encode_param

_names: Final[WeakKeyDictionary[Connection[Any], dict[str, bytes]]] = WeakKeyDictionary()
_numbers: Final = itertools.count()


def execute(
    conn: Connection[Any], statement: Statement, params: Sequence[Param]
) -> list[tuple[str, ...]]:
    """Execute ``statement`` and return its rows; all columns must be text, and not NULL.

    The statement is prepared on its first use on a connection, except behind a connection pooler.
    ``conn`` must be in autocommit mode, or within ``transaction``, and no other thread may use it
    meanwhile. The wait cannot be interrupted. Raises psycopg.Error.
    """
    # Any, because psycopg's type for libpq's parameters lacks NULL.
    values: list[Any] = [encode_param(param) for param in params]
    if connect.is_pooled(conn):
        return _rows(_check(_execute_unprepared(conn.pgconn, statement.query, values)))
    names = _names.setdefault(conn, {})
    if (name := names.get(statement.text)) is None:
        name = f"{statement.name}:{next(_numbers)}".encode()
        _check(conn.pgconn.prepare(name, statement.query))
        names[statement.text] = name
    result = conn.pgconn.exec_prepared(name, values)
    if _sqlstate(result) in UNUSABLE_PLAN:
        del names[statement.text]
        if conn.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            raise psycopg.OperationalError("prepared statement lost: repeat the transaction")
        result = conn.pgconn.exec_params(statement.query, values)
    return _rows(_check(result))


@contextmanager
def transaction(conn: Connection[Any]) -> Iterator[None]:
    """Run a transaction as ``conn.transaction()`` does, but hide a rollback from psycopg.

    After a rollback psycopg has the server drop all prepared statements of the session, ours too.
    """
    _check(conn.pgconn.exec_(b"BEGIN"))
    try:
        yield
    except BaseException:
        if conn.pgconn.status == pq.ConnStatus.OK:
            conn.pgconn.exec_(b"ROLLBACK")
        raise
    _check(conn.pgconn.exec_(b"COMMIT"))


def _execute_unprepared(pgconn: pq.abc.PGconn, query: bytes, values: list[Any]) -> pq.abc.PGresult:
    """Execute ``query`` behind a pooler, after the planner's settings.

    Both are one transaction and one round trip.
    """
    pgconn.enter_pipeline_mode()
    pgconn.send_query_params(LOCAL, None)
    pgconn.send_query_params(query, values)
    pgconn.pipeline_sync()
    ready = select.poll()  # not select(): descriptors may be above 1023
    ready.register(pgconn.socket, select.POLLIN | select.POLLOUT)
    while pgconn.flush():
        ready.poll()
        pgconn.consume_input()  # otherwise each side might wait for the other to read
    answer: pq.abc.PGresult | None = None
    while pgconn.status == pq.ConnStatus.OK:
        result = pgconn.get_result()
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            pgconn.exit_pipeline_mode()
            assert answer is not None
            return answer
        if answer is None or answer.status != pq.ExecStatus.FATAL_ERROR:
            answer = result  # the last result, or the first error
    if answer is not None and answer.status == pq.ExecStatus.FATAL_ERROR:
        return answer
    raise psycopg.OperationalError(pgconn.get_error_message() or "the connection is lost")


def _rows(result: pq.abc.PGresult) -> list[tuple[str, ...]]:
    columns = range(result.nfields)
    return [
        tuple([(result.get_value(row, column) or b"").decode() for column in columns])
        for row in range(result.ntuples)
    ]


def _sqlstate(result: pq.abc.PGresult) -> str | None:
    state = result.error_field(pq.DiagnosticField.SQLSTATE)
    return state.decode() if state else None


def _check(result: pq.abc.PGresult) -> pq.abc.PGresult:
    """Return ``result``; raise it if it is an error."""
    if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        return result
    message = result.get_error_message()
    if (state := _sqlstate(result)) is None:
        raise psycopg.OperationalError(message)  # from libpq: the connection is lost
    raise _error_class(state)(message)


def _error_class(sqlstate: str) -> type[psycopg.Error]:
    try:
        return psycopg.errors.lookup(sqlstate)
    except KeyError:
        return psycopg.DatabaseError
