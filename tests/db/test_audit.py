"""Entries of the audit table: written once, answered in parts, never changed, deleted when old."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from owsuper.core import pages
from owsuper.db import connect
from owsuper.db.audit import KEPT_DAYS, AuditQueries, Intent, position_of
from owsuper.db.clients import Operation
from owsuper.ids import new_id

Perform = Callable[[Operation[Any]], Any]


@pytest.fixture
def perform(database_url: str) -> Iterator[Perform]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield lambda operation: operation.run(conn)


@pytest.fixture
def queries(schema: str) -> AuditQueries:
    return AuditQueries(schema, "default")


def intent(entry_id: str = "", **fields: Any) -> Intent:
    given = {"user": "ada", "address": "10.0.0.7", "action": "cancel", "target": {"run": "r"}}
    return Intent(**{"id": entry_id or new_id(), **given, **fields})


def test_an_entry_is_there_before_its_answer(perform: Perform, queries: AuditQueries) -> None:
    wanted = intent(arguments={"children": True})
    assert perform(queries.intend(wanted)) is True
    entry = perform(queries.entry(wanted.id))
    assert (entry.user, entry.address, entry.action) == ("ada", "10.0.0.7", "cancel")
    assert (entry.target, entry.arguments) == ({"run": "r"}, {"children": True})
    assert (entry.done, entry.refused, entry.answered_at, entry.details) == (0, 0, None, None)


def test_a_form_that_is_submitted_twice_has_one_entry(
    perform: Perform, queries: AuditQueries
) -> None:
    first, second = intent(user="ada"), intent(user="eve")
    assert perform(queries.intend(first))
    assert not perform(queries.intend(intent(first.id, user="eve")))
    assert perform(queries.intend(second))
    assert perform(queries.entry(first.id)).user == "ada"


def test_a_statement_that_is_repeated_after_a_lost_answer_is_no_second_submission(
    perform: Perform, queries: AuditQueries
) -> None:
    operation = queries.intend(intent())
    assert perform(operation) is True
    assert perform(operation) is True


def test_an_answer_in_parts_counts_each_part_once(perform: Perform, queries: AuditQueries) -> None:
    wanted = intent()
    perform(queries.intend(wanted))
    part = queries.answer(wanted.id, done=90, refused=10, details={}, number=0, is_last=False)
    perform(part)
    perform(part)
    assert perform(queries.entry(wanted.id)).answered_at is None
    perform(queries.answer(wanted.id, done=5, refused=0, details={"end": 1}, number=1))
    entry = perform(queries.entry(wanted.id))
    assert (entry.done, entry.refused, entry.details) == (95, 10, {"end": 1})
    assert entry.answered_at is not None
    assert [each.number for each in perform(queries.answers(wanted.id))] == [0, 1]


def test_the_newest_entries_come_first_page_by_page(
    perform: Perform, queries: AuditQueries
) -> None:
    ids = [new_id() for _ in range(5)]
    for entry_id in ids:
        perform(queries.intend(intent(entry_id)))
    seen, cursor = [], None
    while True:
        window = pages.make_window(2, cursor, None)
        page = pages.make_page(window, perform(queries.entries(window)), position_of)
        seen += [each.id for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_another_namespace_has_other_entries(
    perform: Perform, queries: AuditQueries, schema: str
) -> None:
    other, wanted = AuditQueries(schema, "other"), intent()
    perform(queries.intend(wanted))
    assert perform(other.entry(wanted.id)) is None
    assert perform(other.entries(pages.Window())) == []
    assert perform(other.intend(wanted)) is True


@pytest.mark.parametrize("table", ["owsuper_audit", "owsuper_audit_outcomes"])
def test_an_entry_is_never_changed(
    table: str, perform: Perform, queries: AuditQueries, conn: psycopg.Connection, schema: str
) -> None:
    wanted = intent()
    perform(queries.intend(wanted))
    perform(queries.answer(wanted.id, done=1, refused=0, details=None))
    with pytest.raises(psycopg.errors.RaiseException, match="are never changed"):
        conn.execute(f'UPDATE "{schema}".{table} SET namespace_id = namespace_id'.encode())


def test_a_new_entry_deletes_old_ones_with_their_answers(
    perform: Perform, queries: AuditQueries, conn: psycopg.Connection, schema: str
) -> None:
    conn.execute(
        f'INSERT INTO "{schema}".owsuper_audit (namespace_id, id, attempt, asked_at, action,'
        " target) SELECT 'default', age, '', now() - make_interval(days => age), 'cancel', '{}'"
        f" FROM unnest(ARRAY[{KEPT_DAYS - 1}, {KEPT_DAYS + 1}]) AS age".encode()
    )
    perform(queries.answer(str(KEPT_DAYS + 1), done=1, refused=0, details=None))
    perform(queries.intend(intent("new")))
    entries = perform(queries.entries(pages.Window()))
    assert [each.id for each in entries] == ["new", str(KEPT_DAYS - 1)]
    assert perform(queries.answers(str(KEPT_DAYS + 1))) == []
