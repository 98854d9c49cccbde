"""A standard error that is copied is the same for everybody who writes to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SETUP = """
import logging, os, sys, threading, warnings
from owsuper import stderr_copy
copied = []
"""


def run(code: str, *options: str) -> str:
    """Run the code; return what arrives at descriptor 2."""
    command = [sys.executable, *options, "-c", SETUP + code]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr


@pytest.mark.parametrize("options", [(), ("-u",)])
def test_what_is_written_arrives_and_is_copied(options: tuple[str, ...]) -> None:
    arrived = run(
        """
stderr_copy.install()
handler = logging.StreamHandler()  # keeps sys.stderr, as an application does at its import
stderr_copy.copy_to(copied.append)
print("printed", file=sys.stderr)
sys.stderr.write("in two ")
sys.stderr.write("parts\\n")
handler.emit(logging.makeLogRecord({"msg": "logged"}))
sys.stderr.buffer.write(b"bytes\\n")
sys.stderr.flush()
text = b"".join(copied)
stderr_copy.copy_to(None)
print("not copied", file=sys.stderr)
assert text == b"printed\\nin two parts\\nlogged\\nbytes\\n", text
""",
        *options,
    )
    assert arrived == "printed\nin two parts\nlogged\nbytes\nnot copied\n"


def test_the_stream_is_like_the_one_before() -> None:
    run(
        """
def traits(stream):
    names = ("name", "mode", "encoding", "errors", "line_buffering", "write_through", "newlines")
    return [getattr(stream, each) for each in names], stream.fileno(), stream.isatty()
before, old = traits(sys.stderr), sys.stderr
stderr_copy.install()
assert sys.stderr is sys.__stderr__ is not old
assert traits(sys.stderr) == before
"""
    )


def test_a_program_without_standard_error_is_left_without_one() -> None:
    run("sys.stderr = None; stderr_copy.install(); assert sys.stderr is None")


def test_lines_of_the_log_are_copied_even_if_nobody_reads_them(tmp_path: Path) -> None:
    run(
        """
from owsuper.log_stream import LogStream
stderr_copy.copy_to(copied.append)
reader, writer = os.pipe()
os.dup2(writer, 2)
os.set_blocking(2, False)
stream = LogStream(0.0, str)
for _ in range(3000):
    stream.write_line("x" * 99)
assert stream.lost
stream.write_line("last")
assert copied[-1] == b"last\\n"
"""
    )
