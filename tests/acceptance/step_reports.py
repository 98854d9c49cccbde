"""How the steps of app.py report to the test, and how the test controls them.

Reports and commands pass through the test process, so they outlive any killed process:
``report_execution`` writes one line into a pipe; ``wait_for_command`` connects to the test, and
returns when the test has sent a command.
"""

from __future__ import annotations

import json
import os
import socket
import time
from functools import cache
from uuid import uuid4

PIPE = "ACCEPTANCE_PIPE"
GATE = "ACCEPTANCE_GATE"


def report_execution(run_id: str, step: str, after: str = "") -> str:
    """Report that a step is executed. Returns a token that is different each time.

    A step returns its token, so that the stored result identifies the execution. ``after`` is the
    token that the step before returned, if that is known.
    """
    token = uuid4().hex
    line = {"run": run_id, "step": step, "token": token, "pid": os.getpid(), "at": time.monotonic()}
    if after:
        line["after"] = after
    os.write(_pipe(), json.dumps(line).encode() + b"\n")
    return token


def wait_for_command(run_id: str, step: str, token: str) -> str:
    """Wait for the test's command. Raises ConnectionError if the test is over."""
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(os.environ[GATE])
        line = {"run": run_id, "step": step, "token": token, "pid": os.getpid()}
        gate.sendall(json.dumps(line).encode() + b"\n")
        word = gate.recv(256).decode()
        if not word:
            raise ConnectionError("the test is over")
        return word


@cache
def _pipe() -> int:
    return os.open(os.environ[PIPE], os.O_WRONLY)  # writes of less than PIPE_BUF do not mix
