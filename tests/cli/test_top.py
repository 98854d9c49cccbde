"""``owsuper top``: a screen that fits, and keys that do what they say."""

from __future__ import annotations

import curses
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from owsuper import WorkerStatus
from owsuper.cli.live_view import View
from owsuper.client.workers import worker_from_row
from owsuper.db import connect
from owsuper.db.presence import PresenceQueries
from owsuper.db.workers import SupervisorRow
from tests.cli.running import Run
from tests.db.announcements import announced, child, executing
from tests.db.rows import perform
from tests.fixtures.processes import ROOT, owsuper_command

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def worker(number: int, *, connected: bool = True, **status: Any) -> WorkerStatus:
    """A worker with eight processes, of which the first is busy."""
    busy = child(1, executing("0198c0de-1a2b-7c3d-8e4f-5a6b7c8d9e0f", "send-welcome-email"))
    idle = [child(each) for each in range(2, 9)]
    about = {"at": 1000.0, "state": "serving", "slots": 8, "free": 7, "children": [busy, *idle]}
    return worker_from_row(
        SupervisorRow(
            id=f"web-{number}.shop.example.com:{4000 + number}:x",
            host="",
            pid=4000 + number,
            pooled=False,
            connected_at=NOON,
            announced_at=NOON,
            now=NOON,
            version="1",
            workflows=[["send-welcome-email", None]],
            status=about | status,
            connected=connected,
        )
    )


@pytest.mark.parametrize(("width", "height"), [(79, 24), (60, 10), (40, 5), (200, 50)])
def test_the_screen_fits_the_terminal(width: int, height: int) -> None:
    lines = View([worker(each) for each in range(3)]).lines(NOON, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width


def test_in_80_columns_it_says_who_does_what_for_how_long() -> None:
    summary, _, heading, first, busy, idle, *_ = View([worker(1)]).lines(NOON, 79, 24)
    assert summary == "2026-01-02 12:00:00Z  workers 1  processes 8  slots busy 1/8"
    assert heading.split() == ["WORKER", "PID", "STATE", "BUSY", "RSS", "FOR", "DOING"]
    assert first.startswith("web-1")
    assert "serving" in first
    assert "  10s  send-welcome-email s" in busy
    assert idle.split()[:2] == ["child", "2"]


def test_arrows_and_pages_scroll_within_the_table() -> None:
    view = View([worker(each) for each in range(3)])
    first = view.lines(NOON, 79, 14)
    assert "17 more lines below" in first[-1]
    assert view.press(curses.KEY_DOWN)
    assert view.lines(NOON, 79, 14)[3] == first[4]
    for _ in range(9):
        view.press(curses.KEY_NPAGE)
        last = view.lines(NOON, 79, 14)
    assert "more lines" not in last[-1]
    for _ in range(99):
        view.press(curses.KEY_UP)
    assert view.lines(NOON, 79, 14) == first


def test_idle_processes_can_be_hidden() -> None:
    view = View([worker(1)])
    view.press(ord("i"))
    lines = view.lines(NOON, 79, 24)
    assert not any("child 2" in line for line in lines)
    assert any("child 1" in line for line in lines)
    assert "processes 8" in lines[0]


def test_missing_workers_are_counted_and_an_outage_is_shown_beside_the_last_workers() -> None:
    view = View([worker(1), worker(2, connected=False)])
    lines = view.lines(NOON, 79, 24)
    assert "workers 1, 1 missing" in lines[0]
    view.error = "Cannot connect"
    assert view.lines(NOON, 79, 24)[0].endswith("  Cannot connect")
    assert view.lines(NOON, 79, 24)[1:] == lines[1:]


def test_q_and_escape_end_it() -> None:
    assert not View().press(ord("q"))
    assert not View().press(27)
    assert View().press(ord("x"))


def test_without_a_terminal_it_names_the_command_that_needs_none(
    owsuper: Run, database_url: str
) -> None:
    result = owsuper("top", "--database-url", database_url)
    assert result.is_one_error(2), result
    assert "owsuper top needs a terminal; owsuper ps does not" in result.stderr


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


def test_in_a_real_terminal_it_follows_what_workers_announce(
    session: psycopg.Connection, database_url: str, schema: str
) -> None:
    queries = PresenceQueries(schema, "default", "shop:17:abc")
    perform(session, queries.register(30, "shop", 17))
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [*owsuper_command(), "top", "--interval", "100ms"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={
            **os.environ,
            "TERM": "xterm",
            "OWSUPER_DATABASE_URL": database_url,
            "OWSUPER_SCHEMA": schema,
        },
        start_new_session=True,
    )
    os.close(theirs)
    try:
        _read_until(ours, b"starting")
        perform(session, announced(queries, children=[child(1, executing("r", "greet"))]))
        _read_until(ours, b"greet")
        os.write(ours, b"q")
        _read_until(ours, b"")
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.wait()
        os.close(ours)


def _read_until(terminal: int, text: bytes) -> None:
    """Read what the program writes until ``text`` comes; an empty text: until it ends."""
    seen, give_up = b"", time.monotonic() + 60
    while not text or text not in seen:
        assert select.select([terminal], [], [], max(0.0, give_up - time.monotonic()))[0], seen
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # its end
            assert not text, seen
            return
