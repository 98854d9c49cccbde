"""The statements that children send all the time, with nothing between us and libpq.

A cursor costs several times the processor time of what it wraps here, most of it under the
interpreter's lock: a small statement some 100 µs, against 25 µs.
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
    """The rows that ``statement`` returns; all of its columns must be text, and not NULL.

    It is prepared on its first use on a connection, unless a connection pooler would give us
    another session the next time. ``conn`` must be in autocommit mode, or within ``transaction``,
    and used by no other thread meanwhile; the wait cannot be interrupted. Raises psycopg.Error.
    """
    values: list[Any] = [
        encode_param(param) for param in params
    ]  # NULL is known to libpq, not to mypy
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
            raise psycopg.OperationalError("a prepared statement is gone: the transaction again")
        result = conn.pgconn.exec_params(statement.query, values)
    return _rows(_check(result))


@contextmanager
def transaction(conn: Connection[Any]) -> Iterator[None]:
    """As ``conn.transaction()``, but psycopg hears nothing of a rollback. It would forget its own
    prepared statements then, and have the server drop all that the session has: ours, too.
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
    """The result of ``query`` behind a pooler, the planner's settings in front of it: one round
    trip and one transaction.
    """
    pgconn.enter_pipeline_mode()
    pgconn.send_query_params(LOCAL, None)
    pgconn.send_query_params(query, values)
    pgconn.pipeline_sync()
    ready = select.poll()  # not select(): descriptors may be above 1023
    ready.register(pgconn.socket, select.POLLIN | select.POLLOUT)
    while pgconn.flush():
        ready.poll()
        pgconn.consume_input()  # or both sides might wait for the other to read
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
            answer = result  # the last one, or the error that it was not come to for
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
    """``result``, unless it is an error."""
    if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        return result
    message = result.get_error_message()
    if (state := _sqlstate(result)) is None:
        raise psycopg.OperationalError(message)  # libpq's own: the connection is gone
    raise _error_class(state)(message)


def _error_class(sqlstate: str) -> type[psycopg.Error]:
    try:
        return psycopg.errors.lookup(sqlstate)
    except KeyError:
        return psycopg.DatabaseError
