"""Opening connections to PostgreSQL, and the error messages if that fails."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import ProgrammingError
from psycopg.rows import tuple_row

from owsuper.db import pooler, times
from owsuper.db.timed import TimedConnection, open_connection
from owsuper.errors import ConfigurationError, DatabaseUnreachable

if TYPE_CHECKING:
    from psycopg import Connection

# A peer that disappears without closing its connection is detected while a statement waits for its
# answer (keepalives), and sooner while bytes wait for their acknowledgement (user timeout). The
# user timeout also bounds each attempt to connect, so that the next host of a list gets its turn.
_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def conninfo(url: str, *, application_name: str) -> str:
    """Return the connection string for ``url`` (a URL or libpq's ``key=value`` form).

    The user's values win over our defaults (name, time-outs, keepalives), except for the encoding,
    which must be UTF-8. Raises ConfigurationError if ``url`` cannot be read.
    """
    given = _parse(url)
    ours = {key: value for key, value in _DEFAULTS.items() if key not in given}
    ours |= {"fallback_application_name": application_name, "client_encoding": "utf8"}
    return make_conninfo(url, **ours)


def configure(conn: Connection[Any], statement_timeout: float = math.inf) -> None:
    """Set up a new blocking connection: autocommit, ``$1`` parameters, times, session settings.

    Raises ConfigurationError for a database that is not in UTF-8, and for a pooler in between
    whose sessions have unsuitable settings.
    """
    _check_encoding(conn)
    conn.autocommit = True
    conn.cursor_factory = psycopg.RawCursor
    conn.adapters.register_loader("timestamptz", times.TimeLoader)
    opening = pooler.opening(conn.pgconn.backend_pid, statement_timeout)
    answer = conn.execute(opening).fetchone()
    if answer is not None and pooler.is_pooled(answer):
        _adapt(conn, answer)


def _check_encoding(conn: Connection[Any]) -> None:
    # The server says this when a session begins. Another encoding would refuse single values and
    # error texts, long after the start; SQL_ASCII would store bytes that nobody can read.
    encoding = conn.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):  # a pooler need not say it
        raise ConfigurationError(
            f'The encoding of database "{conn.info.dbname}" is {encoding}, and owsuper needs UTF8,'
            " because values and error messages may hold any character. Create another database"
            " for owsuper: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0."
        )


def _adapt(conn: Connection[Any], answer: pooler.Answer) -> None:
    if fix := pooler.unfit(answer):
        role = conn.info.user
        raise ConfigurationError(
            f"The connection goes through a pooler, where settings of a session are out of our"
            f" reach, and those of {role!r} do not fit. Let a database administrator run:"
            f" {fix.format(role=role)}"
        )
    pooler.adapt(conn)


def is_pooled(conn: Connection[Any]) -> bool:
    """Return whether ``conn``, which is configured, goes through a connection pooler.

    If so, it must leave nothing in its session: no LISTEN, no lock, no setting.
    """
    return pooler.is_adapted(conn)


# What DISCARD ALL does, without its DEALLOCATE: through a pooler, the session may be one in which
# others have prepared statements.
_CLEAN_SESSION: Final = (
    b"RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP;"
    b" SELECT pg_advisory_unlock_all()"
)


def clean(conn: Connection[Any]) -> None:
    """Undo what user code has set on an idle connection ``for_user_code``, and in its session."""
    conn.autocommit = True
    conn.row_factory = tuple_row
    conn.cursor_factory = psycopg.Cursor
    conn.server_cursor_factory = psycopg.ServerCursor
    conn.prepare_threshold = None
    conn.execute(_CLEAN_SESSION)


def connect(
    url: str,
    *,
    application_name: str,
    give_up_at: float = math.inf,
    statement_timeout: float = math.inf,
    for_user_code: bool = False,
) -> TimedConnection:
    """Open and configure a blocking connection.

    One ``for_user_code`` has none of our settings, and psycopg's defaults, but for autocommit. It
    prepares nothing, since a pooler may be in between.

    The attempt ends at ``give_up_at``, a time of time.monotonic(); later statements have no such
    limit. Without a pooler in between, the server itself cancels a statement after
    ``statement_timeout`` seconds, or sooner if the role has a shorter limit.

    Raises ConfigurationError if ``url`` cannot be read, DatabaseUnreachable if no server answers
    or the server refuses.
    """
    info = conninfo(url, application_name=application_name)
    try:
        conn = open_connection(info, give_up_at)
        try:
            if for_user_code:
                conn.autocommit = True  # else a COMMIT in the text of a statement begins another
                conn.prepare_threshold = None
            else:
                configure(conn, statement_timeout)
        except BaseException:
            conn.close()
            raise
    except psycopg.Error as exc:
        raise explain_failure(exc, url) from exc
    conn.give_up_at = math.inf
    return conn


# The server's reasons come as text only: libpq keeps no SQLSTATE of a failed connect. A server
# that speaks another language than English gets _ANYTHING_ELSE.
_ADVICE: Final = (
    (
        r"server is in hot standby mode",  # of several hosts, perhaps one
        "No primary at {place}: who answers there takes no writes. If a standby is being promoted,"
        " try again in a moment; else check the hosts in the database URL.",
    ),
    (
        r"session is read-only",  # the same, or a setting of the role
        "No primary at {place}: who answers there takes no writes from {user}. If a standby is"
        " being promoted, try again in a moment; else check the hosts in the database URL, and"
        " whether the role or the database has default_transaction_read_only.",
    ),
    (
        r"^(?!.*FATAL).*Too many open files(?! in system)",
        "Cannot connect to PostgreSQL at {place}: {reason}. Raise ulimit -n, or close files and"
        " connections that the program no longer needs.",
    ),
    (
        r"could not translate host name|failed to resolve host|Name or service not known",
        "Cannot find the database host {host}: {reason}. Check the host name in the database URL.",
    ),
    (
        r"Connection refused|No such file or directory|No route to host|Network is unreachable"
        r"|timeout expired|timed out|Permission denied",
        "Cannot reach PostgreSQL at {place}: {reason}. Check host and port in the database URL,"
        " and that the server is running and reachable from here.",
    ),
    (
        r"(password|PAM|LDAP|RADIUS) authentication failed|no password supplied"
        r"|authentication failed for user|role \"[^\"]*\" does not exist",
        "PostgreSQL at {place} refused to log in {user}: {reason}. Check user name and password"
        " in the database URL.",
    ),
    (
        r"database \"[^\"]*\" does not exist",
        "PostgreSQL at {place} has no database {dbname}. Create it (createdb), or correct the"
        " name in the database URL.",
    ),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects|permission denied for database",
        "PostgreSQL at {place} does not let {user} into database {dbname}: {reason}. Let the"
        " server's administrator allow it (pg_hba.conf, GRANT CONNECT).",
    ),
    (
        r"unsupported startup parameter",
        "The connection pooler at {place} does not accept a setting in the database URL: {reason}."
        " Take it out of the URL, or let the pooler ignore it (in PgBouncer:"
        " ignore_startup_parameters).",
    ),
    (
        r"the database system is|terminating connection",
        "PostgreSQL at {place} is not ready: {reason}. Try again in a moment.",
    ),
    (
        r"no such (database|user)|bouncer config error|server login (has been )?fail"
        r"|server DNS lookup failed"
        r"|no more connections allowed|pgbouncer cannot connect to server|query_wait_timeout"
        r"|server_login_retry|pause|shutting down",
        "The connection pooler at {place} does not let {user} into database {dbname}: {reason}."
        " Look into its configuration and its log.",
    ),
    (
        r"too many (clients|connections)|remaining connection slots",
        "PostgreSQL at {place} has no connection left: {reason}. Raise max_connections, or run"
        " fewer processes.",
    ),
)
_ANYTHING_ELSE: Final = (
    "Cannot connect to PostgreSQL at {place} as {user}: {reason}. Check the database URL."
)


def explain_failure(exc: BaseException, url: str) -> DatabaseUnreachable:
    """Return the error for a failed connection: where, why, what to do. Never the password."""
    defaults = {each.keyword: each.val for each in pq.Conninfo.get_defaults() if each.val}
    given = {key.decode(): value.decode() for key, value in defaults.items()}
    with suppress(ConfigurationError):
        given |= _parse(url)
    text = str(exc)
    password = given.get("password")
    if password and len(password) > 3:  # libpq omits it, but a wrapper might not
        text = text.replace(password, "***")
    template = next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), None)
    return DatabaseUnreachable(
        (template or _ANYTHING_ELSE).format(
            host=f'"{given.get("host", "localhost")}"',
            place=_place_of(given),
            user=f'user "{given.get("user", "")}"',
            dbname=f'"{given.get("dbname") or given.get("user", "")}"',  # as libpq has it
            reason=_reason(text),
        )
    )


_ESCAPES: Final = (
    "If its password contains @, /, :, % or a space, write them as %40, %2F, %3A, %25 and %20."
)


def place(url: str) -> str:
    """Return the hosts and ports in ``url``, for a message."""
    return _place_of(_parse(url))


def _parse(url: str) -> dict[str, str]:
    try:
        parsed = conninfo_to_dict(url)
    except ProgrammingError as exc:
        # libpq quotes what it could not read, and that may be the password.
        if re.match(r"invalid percent-encoded|forbidden value %00|unexpected spaces", str(exc)):
            raise ConfigurationError(
                f"The database URL has an unescaped % or space. {_ESCAPES}"
            ) from None
        known = re.match(r"invalid (URI query parameter|connection option): \S+|[^\"]*$", str(exc))
        why = f" ({known[0].strip()})" if known and known[0].strip() else ""
        raise ConfigurationError(
            f"The database URL cannot be read{why}. It should look like"
            " postgresql://user:password@host:5432/database"
        ) from None
    given = {key: str(value) for key, value in parsed.items() if value is not None}
    # An unescaped password falls apart into these two. They are not repeated here.
    if "@" in given.get("host", "")[1:] or not re.fullmatch(r"[\d,]*", given.get("port", "")):
        raise ConfigurationError(f"The database URL has no valid host and port. {_ESCAPES}")
    return given


def _place_of(given: dict[str, str]) -> str:
    hosts = (given.get("host") or given.get("hostaddr") or "the local socket").split(",")
    ports = given.get("port", "").split(",")
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)
    return ", ".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=True))


_PREAMBLE: Final = re.compile(
    r"^(connection failed: |connection is bad: |consuming input failed: )?"
    r"(connection to server .*? failed: |failed to resolve host .*?: |could not translate .*?: )?"
    r"(FATAL: +)?(\[Errno -?\d+\] )?"
)


def _reason(text: str) -> str:
    """Return the reason of the server or the system, without libpq's preamble and hints."""
    lines = text.strip().splitlines() or ["no reason given"]
    return _PREAMBLE.sub("", lines[0]).strip().rstrip(".")
