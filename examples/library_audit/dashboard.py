"""The dashboard beside the audit: a process of its own, which says where it is."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from owsuper import OwsuperError

COMMAND = (sys.executable, "-m", "owsuper", "dashboard", "--port", "0")


@contextmanager
def dashboard() -> Iterator[str]:
    """Run ``owsuper dashboard`` on a free port; yields its address.

    Raises OwsuperError with the words of the command if it ends at once.
    """
    process = subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        yield _address(process.stderr)
    finally:
        process.terminate()
        process.wait()


def wait_for_reader(address: str) -> None:
    """Wait for Enter, Ctrl-C, or the end of standard input."""
    print(f"\nThe dashboard stays at {address} until you press Enter.", file=sys.stderr)
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)


def _address(messages: IO[str]) -> str:
    said = []
    for line in messages:
        if found := re.search(r"http://\S+", line):
            # Nobody reads what it says later, but it must not wait for a reader.
            threading.Thread(target=messages.read, daemon=True).start()
            return found[0].rstrip("/.,")
        said.append(line)
    reason = "".join(said).removeprefix("owsuper: error: ").strip()
    raise OwsuperError(reason or "owsuper dashboard has ended")
