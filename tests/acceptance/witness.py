"""What the steps of app.py tell the test about themselves, and how the test steers them.

Both ways out of a step end in the test process, where they outlive whoever is killed:
``note`` writes one line into a pipe, which keeps what it has taken; ``ask`` connects to the
test and does not return before the test says a word.
"""

from __future__ import annotations

import json
import os
import socket
import time
from functools import cache
from uuid import uuid4

PIPE = "WITNESS_PIPE"
GATE = "WITNESS_GATE"


def note(run_id: str, step: str, after: str = "") -> str:
    """The side effect of a step: written down, in one piece. Returns a token, different each time.

    A step returns its token, so that the result which was stored tells which execution it was;
    ``after`` is the token that the step before it returned, if that is known.
    """
    token = uuid4().hex
    line = {"run": run_id, "step": step, "token": token, "pid": os.getpid(), "at": time.monotonic()}
    if after:
        line["after"] = after
    os.write(_pipe(), json.dumps(line).encode() + b"\n")
    return token


def ask(run_id: str, step: str, token: str) -> str:
    """Wait for the test's word. Raises ConnectionError if the test has gone on without us."""
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(os.environ[GATE])
        line = {"run": run_id, "step": step, "token": token, "pid": os.getpid()}
        gate.sendall(json.dumps(line).encode() + b"\n")
        word = gate.recv(64).decode()
        if not word:
            raise ConnectionError("the test is over")
        return word


@cache
def _pipe() -> int:
    return os.open(os.environ[PIPE], os.O_WRONLY)  # writes of less than PIPE_BUF do not mix
