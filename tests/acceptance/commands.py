"""What a held step of app.py does to its process, at the test's command."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

STARTED = Path("started")
"""Where ``start processes`` writes the pids, in the worker's working directory."""


def execute_command(words: str) -> None:
    """Execute commands that are separated by semicolons, one after the other."""
    for word in words.split(";"):
        _execute(word.split())


def _execute(words: list[str]) -> None:
    match words:
        case ["go"]:
            pass
        case ["fail"]:
            raise RuntimeError("failed by command")
        case ["sys.exit", code]:
            sys.exit(int(code))
        case ["exit", code]:
            os._exit(int(code))
        case ["segfault"]:
            ctypes.string_at(0)
        case ["abort"]:
            os.abort()
        case ["signal", name]:
            os.kill(os.getpid(), signal.Signals[name])
            signal.pause()
        case ["alarm"]:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            signal.pause()
        case ["close", first, end]:
            os.closerange(int(first), int(end))
        case ["leak"]:
            leak_descriptors()
        case ["hog", seconds]:
            hog(float(seconds))
        case ["spin"]:
            spin()
        case ["eat", megabytes]:
            eat(int(megabytes))
        case ["starve"]:
            starve()
        case ["ignore", "signals"]:
            ignore_signals()
        case ["start", "threads"]:
            start_threads()
        case ["start", "processes"]:
            start_processes()
        case _:
            raise ValueError(words)


# --- descriptors -----------------------------------------------------------------------------


def leak_descriptors() -> None:
    """Take all descriptors that this process may have, also those of lost connections."""
    most = min([fd for fd in range(3, 100) if _is_connected(fd)], default=100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(OSError):
        while True:
            os.dup(1)


def _is_connected(fd: int) -> bool:
    """Whether the descriptor is a connection to a server, and not one end of a pair."""
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            return bool(sock.getpeername())
    except OSError:
        return False


# --- time ------------------------------------------------------------------------------------


def hog(seconds: float) -> None:
    """Spend time in C with the interpreter lock, so that no other thread of the process runs."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def spin() -> None:
    """Work for ever, and catch everything that might end it."""
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


# --- memory ----------------------------------------------------------------------------------


def eat(megabytes: int) -> None:
    """Take memory, and keep it for ever."""
    kept = []
    while True:
        if len(kept) < megabytes:
            kept.append(b"x" * (1 << 20))
        else:
            time.sleep(0.01)


def starve() -> None:
    """Let this process have no more address space than it has, and need more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
    bytearray(1 << 30)


# --- signals, threads, processes ---------------------------------------------------------------


def ignore_signals() -> None:
    """Ignore and block all signals that can be, behind Python's back."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        libc.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def start_threads() -> None:
    """Start threads that never end, which the end of the process must not wait for."""
    for _ in range(20):
        threading.Thread(target=sleep_for_ever).start()


def start_processes() -> None:
    """Start processes in every way, which outlive the step. Write their pids to STARTED."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    programs = [
        ["sleep", "3600"],
        ["timeout", "3600", "sleep", "3600"],  # in a process group of its own
        ["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 0.1; done"],
    ]
    pids = [subprocess.Popen(program, **quiet).pid for program in programs]
    forked = os.fork()
    if not forked:
        sleep_for_ever()
    worker = multiprocessing.get_context("fork").Process(target=sleep_for_ever)
    worker.start()
    assert worker.pid is not None
    STARTED.write_text(" ".join(map(str, [*pids, forked, worker.pid])))


def sleep_for_ever() -> None:
    """Sleep, and catch everything that might end it."""
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(3600)
