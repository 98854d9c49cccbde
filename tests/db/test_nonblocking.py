from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import psycopg
import pytest

from owsuper.db import hosts
from owsuper.db.connect import conninfo
from owsuper.db.nonblocking import NonblockingConnection
from owsuper.db.statement import Result, Statement
from tests.fixtures.proxy import Proxy

ECHO = Statement("echo", "SELECT $1::text, $2::int + 1, $3::text")
SLEEP = Statement("sleep", "SELECT pg_sleep($1)")
PID = Statement("pid", "SELECT pg_backend_pid()")


class Owner:
    """Does what the supervisor does: waits on the link, and notes what it hears."""

    def __init__(self, link: NonblockingConnection) -> None:
        self.link = link
        self.ups = 0
        self.notes: list[tuple[str, str]] = []
        self.downs: list[psycopg.OperationalError] = []
        self.results: list[Result] = []
        link.on_connect = self._up
        link.on_notify = lambda channel, payload: self.notes.append((channel, payload))
        link.on_disconnect = self.downs.append

    def _up(self) -> None:
        self.ups += 1

    def turn(self, timeout: float = 0.05) -> None:
        """Wait once for the link, and let it go on."""
        link = self.link
        if link.state == "closed":
            return
        with selectors.DefaultSelector() as selector:
            selector.register(link.fileno(), link.events)
            for _, mask in selector.select(timeout):
                started = time.monotonic()
                link.on_ready(mask)
                assert time.monotonic() - started < 5, "a turn of the link must not block"

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, f"{self.link.state}: {self.downs}"
            self.turn()

    def up(self) -> Owner:
        self.link.start()
        self.until(lambda: self.ups or self.downs)
        assert not self.downs
        return self

    def ask(self, statement: Statement, *params: Any) -> Result:
        before = len(self.results)
        self.link.send(statement, params, self.results.append)
        self.until(lambda: len(self.results) > before)
        return self.results[-1]


@pytest.fixture
def owner(database_url: str) -> Iterator[Owner]:
    link = NonblockingConnection(conninfo(database_url, application_name="link"), listen=["bell"])
    with closing(link):
        yield Owner(link)


@pytest.fixture
def remote(proxy: Proxy) -> Iterator[Owner]:
    """An owner whose link goes through the proxy."""
    with closing(
        NonblockingConnection(conninfo(proxy.url, application_name="link"), listen=["bell"])
    ) as link:
        yield Owner(link)


def test_it_connects_sets_up_and_says_so_once(owner: Owner) -> None:
    assert owner.link.state == "closed"
    owner.up()
    assert (owner.link.state, owner.ups, owner.link.busy_since) == ("idle", 1, None)
    seqscan = owner.ask(Statement("setting", "SHOW enable_seqscan"))
    assert seqscan.rows == [(b"off",)]


def test_parameters_and_values_travel_as_text(owner: Owner) -> None:
    result = owner.up().ask(ECHO, "grüße", 41, None)
    assert result == Result([("grüße".encode(), b"42", None)], affected=1)
    assert owner.ask(Statement("f", "SELECT $1::float8"), 0.1).rows == [(b"0.1",)]
    assert owner.ask(Statement("j", "SELECT $1::jsonb -> 'a'"), b'{"a": [1]}').rows == [(b"[1]",)]


def test_a_parameter_with_a_zero_byte_is_refused_and_not_cut_short(owner: Owner) -> None:
    owner.up()
    with pytest.raises(ValueError, match=r"U\+0000"):
        owner.link.send(ECHO, ["a\0b", 1, None], owner.results.append)
    assert owner.ask(ECHO, "x", 1, None).rows == [(b"x", b"2", None)]


def test_statements_are_answered_in_order_and_one_is_in_flight_at_a_time(owner: Owner) -> None:
    owner.link.start()
    for number in range(20):  # the first of them before the connection is up
        owner.link.send(ECHO, ["", number, None], owner.results.append)
    owner.until(lambda: len(owner.results) == 20)
    assert [int(result.rows[0][1] or 0) for result in owner.results] == list(range(1, 21))


def test_a_callback_may_send_the_next_statement(owner: Owner) -> None:
    def again(result: Result) -> None:
        owner.results.append(result)
        if len(owner.results) < 5:
            owner.link.send(PID, [], again)

    owner.up().link.send(PID, [], again)
    owner.until(lambda: len(owner.results) == 5)
    assert len({result.rows[0][0] for result in owner.results}) == 1


def test_a_callback_may_close_the_link(owner: Owner) -> None:
    owner.up()
    owner.link.send(PID, [], lambda result: owner.link.close())
    owner.link.send(PID, [], owner.results.append)
    owner.until(lambda: owner.link.state == "closed")
    assert (owner.results, owner.downs, owner.link.fileno()) == ([], [], -1)


def test_each_statement_is_prepared_once(owner: Owner) -> None:
    owner.up()
    other = Statement("echo", "SELECT 1")  # another text of the same name is another statement
    for _ in range(3):
        owner.ask(ECHO, "x", 1, None)
        owner.ask(other)
    prepared = owner.ask(Statement("p", "SELECT statement FROM pg_prepared_statements"))
    texts = [row[0] for row in prepared.rows]
    assert texts.count(ECHO.text.encode()) == 1
    assert texts.count(other.text.encode()) == 1


def test_a_statement_the_server_forgot_is_sent_again_unprepared(owner: Owner) -> None:
    owner.up().ask(ECHO, "x", 1, None)
    owner.ask(Statement("forget", "DEALLOCATE ALL"))
    assert owner.ask(ECHO, "x", 1, None).rows == [(b"x", b"2", None)]
    assert owner.ask(ECHO, "y", 1, None).rows == [(b"y", b"2", None)]


def test_a_changed_result_shape_is_survived(owner: Owner, conn: psycopg.Connection) -> None:
    conn.execute("CREATE TABLE shapes (a int); INSERT INTO shapes VALUES (1)")
    try:
        read = Statement("shapes", "SELECT * FROM shapes")
        assert owner.up().ask(read).rows == [(b"1",)]
        conn.execute("ALTER TABLE shapes ADD b int DEFAULT 2")
        assert owner.ask(read).rows == [(b"1", b"2")]
    finally:
        conn.execute("DROP TABLE shapes")


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        (Statement("syntax", "SELEKT 1"), "42601"),  # fails as it is prepared
        (Statement("zero", "SELECT 1 / $1::int"), "22012"),  # fails as it runs
    ],
)
def test_an_error_is_an_answer_and_the_link_lives_on(
    owner: Owner, statement: Statement, sqlstate: str
) -> None:
    owner.up()
    params = [0] if "$1" in statement.text else []
    for _ in range(2):
        result = owner.ask(statement, *params)
        assert (result.sqlstate, result.rows) == (sqlstate, [])
        assert result.message
    assert owner.ask(PID).sqlstate is None
    assert owner.downs == []


def test_an_update_tells_how_many_rows_it_wrote(owner: Owner) -> None:
    owner.up().ask(Statement("make", "CREATE TEMP TABLE t AS SELECT generate_series(1, 7) AS n"))
    assert owner.ask(Statement("write", "UPDATE t SET n = n + $1::int"), 1).affected == 7


def test_large_parameters_and_answers_pass_in_pieces(owner: Owner) -> None:
    size = 24 << 20
    result = owner.up().ask(Statement("big", "SELECT $1::text || '!'"), b"x" * size)
    value = result.rows[0][0]
    assert value is not None
    assert (len(value), value[-2:]) == (size + 1, b"x!")


def test_notifications_arrive_between_statements(owner: Owner, conn: psycopg.Connection) -> None:
    owner.up()
    conn.execute("NOTIFY bell, 'ding'")
    owner.until(lambda: owner.notes)
    assert owner.notes == [("bell", "ding")]


def test_a_notification_swallowed_with_an_answer_is_not_lost(
    owner: Owner, conn: psycopg.Connection
) -> None:
    owner.up()
    # It is sent while the backend is busy, so it comes in one packet with the answer.
    owner.link.send(SLEEP, [0.3], owner.results.append)
    owner.turn()
    conn.execute("NOTIFY bell, 'during'")
    owner.until(lambda: owner.results and owner.notes)
    assert owner.notes == [("bell", "during")]


def test_it_hears_itself(owner: Owner) -> None:
    owner.up().ask(Statement("ring", "SELECT pg_notify('bell', $1)"), "self")
    owner.until(lambda: owner.notes)
    assert owner.notes == [("bell", "self")]


def test_a_killed_backend_is_down_once_and_drops_what_was_sent(
    owner: Owner, conn: psycopg.Connection
) -> None:
    pid = int(owner.up().ask(PID).rows[0][0] or 0)
    answered = len(owner.results)
    owner.link.send(SLEEP, [60], owner.results.append)
    owner.link.send(PID, [], owner.results.append)
    owner.turn()
    conn.execute("SELECT pg_terminate_backend($1)", [pid])
    owner.until(lambda: owner.downs)
    assert (owner.link.state, owner.link.events, owner.link.fileno()) == ("closed", 0, -1)
    assert len(owner.results) == answered
    assert len(owner.downs) == 1
    assert "terminating connection" in str(owner.downs[0])
    with pytest.raises(RuntimeError, match="closed"):
        owner.link.send(PID, [], owner.results.append)


def test_a_backend_killed_while_idle_is_noticed(owner: Owner, conn: psycopg.Connection) -> None:
    pid = int(owner.up().ask(PID).rows[0][0] or 0)
    conn.execute("SELECT pg_terminate_backend($1)", [pid])
    owner.until(lambda: owner.downs)
    assert owner.link.state == "closed"


def test_a_link_that_went_down_can_be_started_again(owner: Owner, conn: psycopg.Connection) -> None:
    pid = int(owner.up().ask(PID).rows[0][0] or 0)
    conn.execute("SELECT pg_terminate_backend($1)", [pid])
    owner.until(lambda: owner.downs)
    owner.link.start()
    owner.until(lambda: owner.ups == 2)
    assert int(owner.ask(PID).rows[0][0] or 0) != pid
    conn.execute("NOTIFY bell")
    owner.until(lambda: owner.notes)


def test_a_reset_connection_is_down_in_the_middle_of_a_statement(
    remote: Owner, proxy: Proxy
) -> None:
    remote.up().link.send(SLEEP, [60], remote.results.append)
    remote.turn()
    proxy.reset_connections()
    remote.until(lambda: remote.downs)
    assert (len(remote.downs), remote.results) == (1, [])


def test_a_silent_server_leaves_the_link_busy_and_says_since_when(
    remote: Owner, proxy: Proxy
) -> None:
    remote.up()
    proxy.stall()
    before = time.monotonic()
    remote.link.send(PID, [], remote.results.append)
    remote.turn()
    assert remote.link.state == "busy"
    assert remote.link.busy_since is not None
    assert before <= remote.link.busy_since <= time.monotonic()
    proxy.restore()
    remote.until(lambda: remote.results)
    assert remote.link.busy_since is None


def test_a_refused_connection_is_down(owner: Owner) -> None:
    with (
        refusing_port() as port,
        closing(NonblockingConnection(f"postgresql://u@127.0.0.1:{port}/d")) as link,
    ):
        refused = Owner(link)
        link.start()
        refused.until(lambda: refused.downs)
        assert "Connection refused" in str(refused.downs[0])
        assert (link.state, refused.ups) == ("closed", 0)


def test_a_missing_socket_directory_is_down(tmp_path: Any) -> None:
    with closing(NonblockingConnection(f"host={tmp_path}/none")) as link:
        owner = Owner(link)
        link.start()
        owner.until(lambda: owner.downs)
        assert "No such file" in str(owner.downs[0])


def test_an_unknown_database_is_down_with_the_servers_words(database_url: str) -> None:
    with closing(
        NonblockingConnection(psycopg.conninfo.make_conninfo(database_url, dbname="nowhere"))
    ) as link:
        owner = Owner(link)
        link.start()
        owner.until(lambda: owner.downs)
        assert 'database "nowhere" does not exist' in str(owner.downs[0])


def test_a_failing_set_up_is_down(database_url: str) -> None:
    with closing(NonblockingConnection(database_url, listen=[""])) as link:
        owner = Owner(link)
        link.start()
        owner.until(lambda: owner.downs)
        assert "zero-length" in str(owner.downs[0])
        assert owner.ups == 0


def test_the_next_host_is_tried_when_the_first_refuses(proxy: Proxy) -> None:
    with refusing_port() as port:
        info = psycopg.conninfo.make_conninfo(
            proxy.url, host="127.0.0.1,127.0.0.1", port=f"{port},{proxy.port}"
        )
        link = NonblockingConnection(info)
        with closing(link):
            assert Owner(link).up().ask(ECHO, "x", 1, None).rows == [(b"x", b"2", None)]


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT bounds connecting on Linux")
def test_the_next_host_is_tried_when_the_first_is_silent(proxy: Proxy) -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        for _ in range(4):  # fill its queue; further calls are not answered at all
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(("127.0.0.1", port))
        info = psycopg.conninfo.make_conninfo(
            proxy.url, host="127.0.0.1,127.0.0.1", port=f"{port},{proxy.port}", tcp_user_timeout=500
        )
        link = stack.enter_context(closing(NonblockingConnection(info)))
        Owner(link).up()


def test_a_host_name_is_looked_up_aside(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, lookup = socket.socketpair()
    monkeypatch.setattr(socket, "getaddrinfo", _slow_lookup(lookup))
    with closing(answer), closing(lookup):
        info = psycopg.conninfo.make_conninfo(proxy.url, host="db.example.com")
        with closing(NonblockingConnection(info)) as link:
            owner = Owner(link)
            link.start()
            for _ in range(3):
                owner.turn()
            assert (link.state, proxy.accepted) == ("connecting", 0)
            answer.send(b"!")
            owner.until(lambda: owner.ups)


def test_a_name_nobody_knows_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(NonblockingConnection("postgresql://u:secret@no-such-host.invalid/d")) as link:
        owner = Owner(link)
        link.start()
        owner.until(lambda: owner.downs, seconds=60)
        assert 'could not translate host name "no-such-host.invalid"' in str(owner.downs[0])
        assert "secret" not in str(owner.downs[0])


def test_a_link_can_be_closed_at_any_moment(database_url: str) -> None:
    for turns in range(8):
        with closing(NonblockingConnection(database_url, listen=["bell"])) as link:
            owner = Owner(link)
            link.start()
            link.send(PID, [], owner.results.append)
            for _ in range(turns):
                owner.turn(0.01)
            link.close()
            assert (link.state, owner.downs) == ("closed", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://db.example.com/d", True),
        ("host=localhost", True),
        ("host=10.0.0.1,db", True),
        ("host=db hostaddr=10.0.0.1", False),
        ("host=10.0.0.1", False),
        ("postgresql://[::1]/d", False),
        ("host=/var/run/postgresql", False),
        ("dbname=d", False),
    ],
)
def test_only_names_are_looked_up(text: str, expected: bool) -> None:
    assert hosts.needs_lookup(text) is expected


def test_every_address_of_every_host_is_tried_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"a": ["10.0.0.1", "fd00::1"], "b": ["10.0.0.2"]}

    def lookup(host: str, *rest: object, **options: object) -> list[Any]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    text = hosts.with_addresses("host=a,gone,10.9.9.9,b port=1,2,3,4 user=u")
    assert psycopg.conninfo.conninfo_to_dict(text) == {
        "host": "a,a,10.9.9.9,b",
        "hostaddr": "10.0.0.1,fd00::1,,10.0.0.2",
        "port": "1,1,3,4",
        "user": "u",
    }


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that nobody listens at, and that nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def _slow_lookup(signal: socket.socket) -> Callable[..., list[Any]]:
    def lookup(host: str, *rest: object, **options: object) -> list[Any]:
        signal.recv(1)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    return lookup
