"""What commands say: data on standard output, messages on standard error."""

from __future__ import annotations

import os
import signal
import sys


def put(text: str) -> None:
    """Write a piece of data, at once. Ends the process where nobody reads it any more.

    As ``head`` does, who has read enough: that is no mistake, and no traceback is due.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What Python would write when it exits must not break once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None  # as a shell reports it


def say(message: str) -> None:
    """Tell whoever sits before the terminal."""
    print(f"owsuper: {message}", file=sys.stderr, flush=True)
