"""Log lines as text and as JSON, in color, and with the priorities of the journal."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from owsuper import log_formats


def record(level: int = logging.INFO, message: str = "hi", **fields: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "shop", "levelno": level, "msg": message, **fields})
    made.levelname = logging.getLevelName(level)
    return made


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line = log_formats.create("json").format(made)
    assert "\n" not in line
    document = json.loads(line)
    assert isinstance(document, dict)
    return document


def failure() -> logging.LogRecord:
    try:
        raise LookupError("nothing here")
    except LookupError as exc:
        return record(logging.ERROR, exc_info=(type(exc), exc, exc.__traceback__))


def test_json_has_time_level_process_logger_message_and_fields() -> None:
    document = as_json(record(message="reserving «7»", run_id="r", attempt=2, absent=None))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document.pop("time"))
    assert document == {
        "level": "INFO",
        "pid": os.getpid(),
        "logger": "shop",
        "message": "reserving «7»",
        "run_id": "r",
        "attempt": 2,
    }


def test_a_traceback_is_one_value_of_json() -> None:
    document = as_json(failure())
    assert document["exception"].endswith("LookupError: nothing here")
    assert document["exception"].startswith("Traceback")


def test_fields_do_not_replace_what_every_line_has() -> None:
    document = as_json(record(level_=1, time="never", logger="mine", exception="none", pid=7))
    assert (document["logger"], document["extra_logger"]) == ("shop", "mine")
    assert (document["pid"], document["extra_pid"]) == (os.getpid(), 7)
    assert document["extra_time"] == "never" != document["time"]
    assert (document["extra_exception"], document.get("exception")) == ("none", None)


@pytest.mark.parametrize(
    "value",
    [Path("/tmp"), {1, 2}, 2**70, "\ud800", float("nan"), {"a": 2**70}, {3: {"b": b"c"}}, object],
    ids=str,
)
def test_whatever_is_logged_is_one_line_of_json(value: object) -> None:
    assert "value" in as_json(record(value=value))


def test_a_value_that_refers_to_itself_is_shown_as_text() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert as_json(record(value=endless))["value"] == "[[...]]"


def test_levels_have_colors_on_a_terminal_and_json_has_none() -> None:
    colored = log_formats.create("text", color=True).format(record(logging.WARNING))
    assert "\x1b[33mWARNING\x1b[0m" in colored
    assert "\x1b" not in log_formats.create("text").format(record(logging.WARNING))
    assert "\x1b" not in log_formats.create("json", color=True).format(record())


@pytest.mark.parametrize(
    ("level", "priority"), [(5, 7), (10, 7), (20, 6), (30, 4), (35, 4), (40, 3), (50, 2), (90, 2)]
)
def test_the_journal_gets_a_priority(level: int, priority: int) -> None:
    for form in ("text", "json"):
        line = log_formats.create(form, priorities=True).format(record(level))
        assert line.startswith(f"<{priority}>")


def test_each_line_of_a_traceback_has_its_priority() -> None:
    lines = log_formats.create("text", priorities=True).format(failure()).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)


@pytest.fixture
def terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    yield theirs
    os.close(theirs)
    os.close(ours)


def test_color_is_for_terminals_unless_nobody_wants_it(
    terminal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    reader, writer = os.pipe()
    assert not log_formats.wants_color(writer)
    os.close(reader)
    os.close(writer)
    assert not log_formats.wants_color(writer)
    assert log_formats.wants_color(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not log_formats.wants_color(terminal)
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert not log_formats.wants_color(terminal)


def test_the_journal_is_known_by_device_and_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(theirs.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert log_formats.is_journal(theirs.fileno())
        assert not log_formats.is_journal(ours.fileno())  # led elsewhere, for example to a file
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not log_formats.is_journal(theirs.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert not log_formats.is_journal(theirs.fileno())  # closed


def test_what_all_lines_of_a_process_share_yields_to_what_a_record_has() -> None:
    log_formats.share({"database": "eu.example.com/app"})
    try:
        assert as_json(record())["database"] == "eu.example.com/app"
        text = log_formats.create("text")
        assert text.format(record(run_id="r")).endswith(" hi database=eu.example.com/app run_id=r")
        assert text.format(record(database="mine")).endswith(" hi database=mine")
    finally:
        log_formats.share({})
    assert log_formats.create("text").format(record()).endswith(" hi")
