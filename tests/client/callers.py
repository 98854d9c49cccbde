"""Transactions of a program in each library, for tests that store something in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

OpenSync = Callable[[str], AbstractContextManager[Any]]
OpenAsync = Callable[[str], AbstractAsyncContextManager[Any]]
"""Given the URL, opens a connection on which one transaction after the other can be used: yields an
object with ``connection``, ``commit`` and ``rollback``."""


class Caller:
    """A connection, and how its transaction ends."""

    def __init__(self, connection: Any, commit: Callable[[], Any], rollback: Callable[[], Any]):
        self.connection = connection
        self.commit = commit
        self.rollback = rollback


@contextmanager
def psycopg_connection(url: str) -> Iterator[Caller]:
    with psycopg.connect(url) as conn:
        yield Caller(conn, conn.commit, conn.rollback)


@contextmanager
def psycopg_cursor(url: str) -> Iterator[Caller]:
    with psycopg.connect(url) as conn, conn.cursor() as cursor:
        yield Caller(cursor, conn.commit, conn.rollback)


def open_engine(url: str, driver: str, **options: Any) -> Any:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    library = pytest.importorskip(driver)
    return sqlalchemy.create_engine(
        f"postgresql+{driver}://",
        creator=lambda: library.connect(url),
        poolclass=sqlalchemy.NullPool,
        **options,
    )


@contextmanager
def sqlalchemy_connection(url: str) -> Iterator[Caller]:
    engine = open_engine(url, "psycopg")
    with engine.connect() as conn:
        yield Caller(conn, conn.commit, conn.rollback)
    engine.dispose()


def sqlalchemy_session(driver: str) -> OpenSync:
    @contextmanager
    def session(url: str) -> Iterator[Caller]:
        engine = open_engine(url, driver)
        orm = pytest.importorskip("sqlalchemy.orm")
        with orm.Session(engine) as session:
            yield Caller(session, session.commit, session.rollback)
        engine.dispose()

    return session


@contextmanager
def scoped_session(url: str) -> Iterator[Caller]:
    engine = open_engine(url, "psycopg")
    orm = pytest.importorskip("sqlalchemy.orm")
    session = orm.scoped_session(orm.sessionmaker(engine))
    yield Caller(session, session.commit, session.rollback)
    session.remove()
    engine.dispose()


def configure_django(url: str) -> Any:
    """Return ``django.db``, with the connections "default", to ``url``, and "lite", to SQLite."""
    django = pytest.importorskip("django")
    conf = pytest.importorskip("django.conf")
    db = pytest.importorskip("django.db")
    address = conninfo_to_dict(url)
    default = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address["dbname"],
        "USER": address["user"],
        "HOST": address["host"],
        "PORT": address["port"],
    }
    lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    if not conf.settings.configured:
        conf.settings.configure(DATABASES={"default": default, "lite": lite})
        django.setup()

    assert db.connections["default"].settings_dict["HOST"] == default["HOST"]
    return db


def django_connection(given: Callable[[Any], Any]) -> OpenSync:
    @contextmanager
    def connection(url: str) -> Iterator[Caller]:
        db = configure_django(url)
        db.connection.set_autocommit(False)
        yield Caller(given(db), db.connection.commit, db.connection.rollback)
        db.connection.close()

    return connection


@asynccontextmanager
async def async_psycopg(url: str) -> AsyncIterator[Caller]:
    async with await psycopg.AsyncConnection.connect(url) as conn:
        yield Caller(conn, conn.commit, conn.rollback)


def open_async_engine(url: str, driver: str) -> Any:
    pytest.importorskip("greenlet")
    aio = pytest.importorskip("sqlalchemy.ext.asyncio")
    if driver == "asyncpg":
        asyncpg = pytest.importorskip("asyncpg")
        connect = partial(asyncpg.connect, url)
    else:
        connect = partial(psycopg.AsyncConnection.connect, url)
    sqlalchemy = pytest.importorskip("sqlalchemy")
    return aio.create_async_engine(
        f"postgresql+{driver}://", async_creator=connect, poolclass=sqlalchemy.NullPool
    )


@asynccontextmanager
async def async_sqlalchemy_connection(url: str) -> AsyncIterator[Caller]:
    engine = open_async_engine(url, "psycopg")
    async with engine.connect() as conn:
        yield Caller(conn, conn.commit, conn.rollback)
    await engine.dispose()


def async_sqlalchemy_session(driver: str) -> OpenAsync:
    @asynccontextmanager
    async def session(url: str) -> AsyncIterator[Caller]:
        engine = open_async_engine(url, driver)
        aio = pytest.importorskip("sqlalchemy.ext.asyncio")
        async with aio.AsyncSession(engine) as session:
            yield Caller(session, session.commit, session.rollback)
        await engine.dispose()

    return session


def asyncpg_connection(*, json_codec: bool) -> OpenAsync:
    @asynccontextmanager
    async def connection(url: str) -> AsyncIterator[Caller]:
        asyncpg = pytest.importorskip("asyncpg")
        conn = await asyncpg.connect(url)
        if json_codec:  # as many programs have it
            import json

            for name in ("json", "jsonb"):
                await conn.set_type_codec(
                    name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
                )

        transaction = conn.transaction()
        await transaction.start()

        async def end(how: str) -> None:
            nonlocal transaction
            await getattr(transaction, how)()
            transaction = conn.transaction()
            await transaction.start()

        yield Caller(conn, lambda: end("commit"), lambda: end("rollback"))
        await conn.close()

    return connection


SYNC: dict[str, OpenSync] = {
    "psycopg connection": psycopg_connection,
    "psycopg cursor": psycopg_cursor,
    "SQLAlchemy Connection": sqlalchemy_connection,
    "SQLAlchemy Session": sqlalchemy_session("psycopg"),
    "SQLAlchemy Session with psycopg2": sqlalchemy_session("psycopg2"),
    "SQLAlchemy scoped_session": scoped_session,
    "Django's connection": django_connection(lambda db: db.connection),
    "Django's alias": django_connection(lambda db: "default"),
}

ASYNC: dict[str, OpenAsync] = {
    "psycopg AsyncConnection": async_psycopg,
    "SQLAlchemy AsyncConnection": async_sqlalchemy_connection,
    "SQLAlchemy AsyncSession": async_sqlalchemy_session("psycopg"),
    "SQLAlchemy AsyncSession with asyncpg": async_sqlalchemy_session("asyncpg"),
    "asyncpg connection": asyncpg_connection(json_codec=False),
    "asyncpg connection with a codec of JSON": asyncpg_connection(json_codec=True),
}
