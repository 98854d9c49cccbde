from __future__ import annotations

import re
import socket
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from owsuper.db import connect
from owsuper.errors import ConfigurationError, DatabaseUnreachable

SECRET = "Topf-S3cret"


def test_a_connection_commits_each_statement_and_speaks_dollars(database_url: str) -> None:
    with closing(connect.connect(database_url, application_name="app")) as conn:
        assert conn.autocommit
        row = conn.execute("SELECT $1::int + 1, current_setting('application_name')", [1])
        assert row.fetchone() == (2, "app")
        for name, value in [("enable_seqscan", "off"), ("jit", "off"), ("TimeZone", "UTC")]:
            assert conn.execute("SELECT current_setting($1)", [name]).fetchone() == (value,)


def test_the_database_keeps_its_defaults_from_spoiling_ours(
    database_url: str, conn: psycopg.Connection
) -> None:
    conn.execute("CREATE ROLE strange LOGIN SUPERUSER")
    try:
        conn.execute("ALTER ROLE strange SET default_transaction_isolation = 'serializable'")
        conn.execute("ALTER ROLE strange SET DateStyle = 'German'")
        url = make_conninfo(database_url, user="strange")
        with closing(connect.connect(url, application_name="app")) as ours:
            isolation = ours.execute("SHOW transaction_isolation").fetchone()
            assert isolation == ("read committed",)
            assert ours.execute("SELECT timestamptz 'epoch' :: text").fetchone() == (
                "1970-01-01 00:00:00+00",
            )
    finally:
        conn.execute("DROP ROLE strange")


def test_what_the_user_wrote_wins() -> None:
    text = connect.conninfo(
        "postgresql://u@h/d?connect_timeout=3&application_name=mine&client_encoding=latin1",
        application_name="ours",
    )
    info = conninfo_to_dict(text)
    assert (info["connect_timeout"], info["application_name"]) == ("3", "mine")
    assert (info["client_encoding"], info["keepalives"]) == ("utf8", "1")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_in_utf8_is_refused(
    encoding: str, database_url: str, conn: psycopg.Connection
) -> None:
    name = f"test_{uuid4().hex[:16]}"
    options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    conn.execute(f"CREATE DATABASE {name} {options}".encode())
    try:
        with pytest.raises(ConfigurationError) as refused:
            connect.connect(make_conninfo(database_url, dbname=name), application_name="app")
        assert f'The encoding of database "{name}" is {encoding}' in str(refused.value)
        assert "CREATE DATABASE name ENCODING 'UTF8'" in str(refused.value)
    finally:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"mysql://u:{SECRET}@h/d", "should look like postgresql://"),
        (f"host=h passwrd={SECRET}", "should look like postgresql://"),
        (f"host=h password='{SECRET}", "unterminated quoted string"),
        (f"postgresql://u:{SECRET}@h/d?sslmod=require", 'invalid URI query parameter: "sslmod"'),
        (f"postgresql://u:x@{SECRET}@h/d", "%40"),
        (f"postgresql://u:{SECRET}/x@h/d", "%2F"),
        (f"postgresql://u:{SECRET}%@h/d", "unescaped % or space. If its password contains"),
        (f"postgresql://u:{SECRET}%zz@h/d", "write them as %40, %2F, %3A, %25 and %20"),
        (f"postgresql://u:{SECRET} x@h/d", "unescaped % or space"),
    ],
)
def test_an_unreadable_url_is_a_configuration_error(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        connect.connect(url, application_name="app")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_refusing_host_is_named() -> None:
    with socket.socket() as probe:  # bound, not listening
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        message = _failure(f"postgresql://u:{SECRET}@127.0.0.1:{port}/d")
    assert message == (
        f"Cannot reach PostgreSQL at 127.0.0.1:{port}: Connection refused. Check host and port"
        " in the database URL, and that the server is running and reachable from here."
    )


def test_an_unknown_host_is_named() -> None:
    message = _failure(f"postgresql://u:{SECRET}@no-such-host.invalid/d")
    assert message.startswith('Cannot find the database host "no-such-host.invalid": ')
    assert message.endswith(". Check the host name in the database URL.")


def test_a_missing_socket_is_named(tmp_path: object) -> None:
    message = _failure(f"host={tmp_path} password={SECRET}")
    assert message.startswith(f"Cannot reach PostgreSQL at {tmp_path}:5432: No such file")


def test_an_unknown_database_is_named(database_url: str) -> None:
    message = _failure(make_conninfo(database_url, dbname="nowhere", password=SECRET))
    assert 'has no database "nowhere". Create it (createdb), or correct the name' in message


def test_an_unknown_role_is_named(database_url: str) -> None:
    message = _failure(make_conninfo(database_url, user="nobody_here", password=SECRET))
    assert 'refused to log in user "nobody_here": ' in message
    assert message.endswith("Check user name and password in the database URL.")


def test_a_wrong_password_is_told_and_not_repeated(limited_url: str) -> None:
    message = _failure(make_conninfo(limited_url, password=SECRET))
    assert message.endswith(
        ' refused to log in user "owsuper_limited": password authentication failed for user'
        ' "owsuper_limited". Check user name and password in the database URL.'
    )


def test_a_missing_password_is_told(limited_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    without = {key: value for key, value in conninfo_to_dict(limited_url).items() if value}
    del without["password"]
    assert "no password supplied. Check user name and password" in _failure(
        make_conninfo("", **without)
    )


def test_a_failure_nobody_foresaw_is_told_in_its_own_words() -> None:
    error = psycopg.OperationalError(f"connection failed: weird, with {SECRET}\n\tHint")
    told = connect.explain_failure(error, f"postgresql://u:{SECRET}@h:77/d")
    assert str(told) == (
        'Cannot connect to PostgreSQL at h:77 as user "u": weird, with ***. Check the database URL.'
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("FATAL:  sorry, too many clients already", "has no connection left"),
        ("could not create socket: Too many open files", "Raise ulimit -n"),
        ("FATAL:  the database system is starting up", "is not ready"),
        ("FATAL:  the database system is shutting down", "PostgreSQL at h:5432 is not ready: the"),
        ("FATAL:  the database system is in recovery mode", "is not ready"),
        ("FATAL:  pgbouncer is shutting down", "The connection pooler at h:5432 does not let"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', "does not let"),
        ('FATAL:  permission denied for database "d"', "does not let"),
        ("connection timeout expired", "Cannot reach"),
    ],
)
def test_other_refusals_say_what_to_do(words: str, says: str) -> None:
    error = psycopg.OperationalError(f'connection to server at "h", port 1 failed: {words}')
    assert says in str(connect.explain_failure(error, "postgresql://u@h/d"))


def _failure(url: str) -> str:
    with pytest.raises(DatabaseUnreachable) as caught:
        connect.connect(url, application_name="app")
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    return message
