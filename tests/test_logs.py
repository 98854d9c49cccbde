"""Log lines: time, level, process, logger, message, and then whatever context was passed."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterator

import pytest

from owsuper import logs


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("info", stream)
    return stream


def test_a_line_has_time_level_process_logger_and_message(stream: io.StringIO) -> None:
    logging.getLogger("owsuper.child").info("hello %s", "there")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    line = rf"{stamp} INFO {os.getpid()} owsuper\.child: hello there\n"
    assert re.fullmatch(line, stream.getvalue())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("6f1c-9", "key=6f1c-9"),
        (3, "key=3"),
        (0.12345, "key=0.123"),
        ("send email", 'key="send email"'),
        ('a"b\nc', r'key="a\"b\nc"'),
        ("", 'key=""'),
        ("münchen", "key=münchen"),
    ],
)
def test_context_follows_the_message_on_the_same_line(
    value: object, shown: str, stream: io.StringIO
) -> None:
    logging.getLogger("app").warning("stop", extra={"key": value, "absent": None})
    assert stream.getvalue().endswith(f"app: stop {shown}\n")


def test_a_traceback_comes_after_the_context(stream: io.StringIO) -> None:
    try:
        raise LookupError("nothing here")
    except LookupError:
        logging.getLogger("app").exception("failed", extra={"step": "find"})
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("app: failed step=find")
    assert rest[-1] == "LookupError: nothing here"


def test_lines_below_the_level_are_left_out(stream: io.StringIO) -> None:
    logging.getLogger("app").debug("too much")
    assert stream.getvalue() == ""


def test_configuring_twice_does_not_write_twice(stream: io.StringIO) -> None:
    logs.configure("warning", stream)
    logging.getLogger("app").info("quiet now")
    logging.getLogger("app").warning("once")
    assert stream.getvalue().count("\n") == 1


def test_handlers_of_the_application_are_left_alone(stream: io.StringIO) -> None:
    mine = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(mine)
    logs.configure("info", stream)
    assert mine in logging.getLogger().handlers
