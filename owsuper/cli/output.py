"""What commands say: data on standard output, messages on standard error."""

from __future__ import annotations

import io
import json
import os
import signal
import sys

from owsuper.errors import OwsuperError


def accept_any_text() -> None:
    """Let names be printed that the terminal's encoding lacks: escaped, as on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def put(text: str) -> None:
    """Write a piece of data, at once. Ends the process where nobody reads it any more.

    As ``head`` does, who has read enough: that is no mistake, and no traceback is due.
    Raises OwsuperError where it cannot be written, as on a full disk.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # What Python would write when it exits must not break once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(128 + signal.SIGPIPE) from None  # as a shell reports it
        raise OwsuperError(f"cannot write to standard output: {error.strerror}") from None


def put_json(document: str) -> None:
    """Write a JSON document; it stays one where the encoding of the output is not UTF-8."""
    try:
        document.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        document = json.dumps(json.loads(document), separators=(",", ":"))
    put(document)


def say(message: str) -> None:
    """Tell whoever sits before the terminal."""
    print(f"owsuper: {message}", file=sys.stderr, flush=True)
