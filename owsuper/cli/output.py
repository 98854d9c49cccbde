"""Data for standard output, messages for standard error, and JSON documents for programs."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import orjson

from owsuper.errors import OwsuperError
from owsuper.log_stream import write_once

if TYPE_CHECKING:
    from owsuper.client.models import Run, RunCounts, RunRetry, StepAttempt


def prepare_streams() -> None:
    """Open streams that were closed, and make standard output escape what its encoding lacks.

    Otherwise the next descriptors that this process opens would have the numbers 0, 1 and 2.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - stays
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_data(text: str) -> None:
    """Write a piece of data to standard output and flush it.

    When the reader has closed the pipe (as ``head`` does), the process ends without a traceback.
    Raises OwsuperError when the data cannot be written, for example to a full disk.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # Python flushes standard output at exit; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(128 + signal.SIGPIPE) from None  # as a shell reports it
        raise OwsuperError(f"cannot write to standard output: {error.strerror}") from None


def terminal_width() -> int | None:
    """Return the columns of the terminal, or of COLUMNS if set; None if there is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_message(text: str, *, before: str = "") -> None:
    """Write one line for people to standard error, after the lines ``before``."""
    write_once(f"{before}owsuper: {text}")


# --- JSON documents --------------------------------------------------------------------------


def print_json(value: Any) -> None:
    """Write ``value`` as one JSON document. Raises OwsuperError, as ``print_data`` does."""
    document = to_json(value)
    try:
        document.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # escaped by JSON's own rules, the document stays valid
        document = json.dumps(json.loads(document), separators=(",", ":"))
    print_data(document)


def to_json(value: Any) -> str:
    """Return ``value`` as JSON on one line. Times are in UTC and end in Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def document_of(item: Run | RunRetry | StepAttempt) -> dict[str, Any]:
    """Return the public fields of a run, a retry or a step attempt, with the stored error."""
    members = {each.name: getattr(item, each.name) for each in fields(item)}
    return members | {"error": item.error.to_json() if item.error else None}


def document_of_counts(counts: RunCounts) -> dict[str, int]:
    """Return the number of runs by status."""
    return asdict(counts)
