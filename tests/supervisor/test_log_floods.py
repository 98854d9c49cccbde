"""Trouble that lasts makes one line in the log, not one for each attempt."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from owsuper.db.statement import Result, Statement
from owsuper.event_loop import Loop
from tests.fixtures.postgres import with_login
from tests.supervisor.test_claims import FakeConnection
from tests.supervisor.test_connection import Kept

READ = Statement("read", "SELECT 1")
WRITE = Statement("write", "INSERT INTO notes VALUES (1) RETURNING 1")


@pytest.fixture
def read_only(database_url: str, conn: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """The URL of a role whose sessions take no writes, as of a read-only primary; and the role."""
    role = f"reader_{uuid4().hex[:8]}"
    conn.execute("CREATE TABLE notes (note integer)")
    conn.execute(f"CREATE ROLE {role} SUPERUSER LOGIN".encode())
    conn.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on".encode())
    yield with_login(database_url, role, ""), role
    conn.execute(f"DROP ROLE {role}".encode())
    conn.execute("DROP TABLE notes")


class Reader(Kept):
    """Reads and writes, as a supervisor does after every connect. Reading always succeeds."""

    def _up(self) -> None:
        super()._up()
        self.connection.send(READ, (), self.results.append)
        self.connection.send(WRITE, (), self.results.append)


def messages(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [text for record in caplog.records if part in (text := record.getMessage())]


def test_a_read_only_primary_is_logged_once_and_tried_at_growing_intervals(
    read_only: tuple[str, str], conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    url, role = read_only
    kept = Reader(url)
    with caplog.at_level(logging.INFO, logger="owsuper.supervisor"):
        kept.until(lambda: len(kept.downs) == 4)
        [line] = messages(caplog, "connection is down")
        assert "or the role, the database or the server has default_transaction_read_only" in line
        assert kept.connection._backoff.failures == 4
        assert messages(caplog, "connection is back") == []
        conn.execute(f"ALTER ROLE {role} RESET default_transaction_read_only".encode())
        kept.until(lambda: messages(caplog, "connection is back"))
    assert len(messages(caplog, "connection is down")) == 1
    assert kept.connection._backoff.failures == 0
    kept.connection.close()
    kept.loop.close()


@pytest.fixture
def connection(loop: Loop) -> FakeConnection:
    return FakeConnection(loop)


DONE = Result([])


def full_disk(number: int) -> Result:
    reason = f'could not extend file "base/5/{number}": No space left on device'
    return Result([], 0, "53100", reason)


def test_refusals_of_one_kind_are_logged_once_although_others_succeed_in_between(
    connection: FakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for number in range(100):
            assert connection.refused("renew leases", full_disk(number))
            assert not connection.refused("renew leases", DONE)
            assert connection.refused("claim", full_disk(number))
            assert not connection.refused("sweep deadlines", DONE)
    assert len(messages(caplog, "refused to renew leases")) == 1
    assert len(messages(caplog, "refused to claim")) == 1


def test_a_refusal_of_another_kind_is_logged(
    connection: FakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        connection.refused("claim", full_disk(1))
        connection.refused("claim", Result([], 0, "42501", "permission denied for table runs"))
    full, denied = messages(caplog, "refused to claim")
    assert "owsuper migrate" not in full
    assert denied.endswith("owsuper migrate --sql ends with the grants")
