"""Recovery: from the SIGKILL of a child in a step to that step running again elsewhere.

It begins before the system call that kills, so the time that the kernel takes to end the
process is included, and it ends with the step's first line in another process. Each kill is
of another run, none of which comes near ``--max-crashes``. Quantiles are those of all kills
together; the spread is that of the repetitions.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from owsuper.bench.app import REPORTS
from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure, quantile
from owsuper.bench.server import Server
from owsuper.bench.stage import PATIENCE, Stage, staged

PAUSE = (0.1, 0.2)  # for the killed process to be replaced, and everybody to be idle
NAME = "recovery: SIGKILL in a step to that step running elsewhere"


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as reports:
        path = str(Path(directory, "reports"))
        reports.bind(path)
        reports.listen()
        reports.settimeout(PATIENCE)
        os.environ[REPORTS] = path
        # That children die is no news here.
        with staged(server) as stage, stage.worker(2, 1, log_level="critical"):
            repetitions = [
                [_kill(stage, reports) * 1e3 for _ in range(effort.kills)]
                for _ in range(effort.repetitions)
            ]
    together = [each for repetition in repetitions for each in repetition]
    return [
        Figure(
            f"recovery.p{percent}",
            f"{NAME}, p{percent}",
            "ms",
            values,
            1,
            middle=quantile(together, percent / 100),
        )
        for percent in (50, 99)
        for values in [tuple(quantile(each, percent / 100) for each in repetitions)]
    ]


def _kill(stage: Stage, reports: socket.socket) -> float:
    """Seconds that one recovery took."""
    time.sleep(random.uniform(*PAUSE))
    handle = stage.ow.run_workflow("hang")
    first, _, victim = _accept(reports)
    with first:
        died = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        second, began, _ = _accept(reports)
    with second:
        second.sendall(b"go")
        handle.result(timeout=PATIENCE)
    return began - died


def _accept(reports: socket.socket) -> tuple[socket.socket, float, int]:
    """The next execution of the step: its line, when it began, and the process it is in."""
    try:
        line, _ = reports.accept()
    except TimeoutError:
        raise BenchmarkError(f"the step did not run within {PATIENCE:g} s") from None
    with line.makefile("r") as lines:
        began, pid = lines.readline().split()
    return line, float(began), int(pid)
