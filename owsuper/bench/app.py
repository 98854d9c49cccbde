"""The workflows that ``owsuper bench`` measures. Its workers load this module."""

from __future__ import annotations

import os
import socket
import time

from owsuper import OpenWorkflow, Step
from owsuper.bench.samples import REPORT_SOCKET

ow = OpenWorkflow()


@ow.workflow("no-op")
def no_op(step: Step, steps: int) -> None:
    """Run this many steps that do nothing, one after the other."""
    for _ in range(steps):
        step.run("nothing", nothing)


def nothing() -> None:
    """Do nothing."""


@ow.workflow("report-time")
def report_time(step: Step) -> float:
    """Return when the step began, in seconds since the epoch."""
    return step.run("report-time", time.time)


@ow.workflow("hold")
def hold(step: Step) -> None:
    """Run a step that lasts until it is told to end, or its process is killed."""
    step.run("hold", report_and_wait)


def report_and_wait() -> str:
    """Report the time and this process to REPORT_SOCKET, and return the answer."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[REPORT_SOCKET])
        connection.sendall(f"{began!r} {os.getpid()}\n".encode())
        return connection.recv(16).decode()
