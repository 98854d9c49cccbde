"""The test's end of step_reports.py: executions that were reported, and steps that wait."""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a step's function. ``at`` is a time of ``time.monotonic``.

    ``after`` is the token that the step before returned, if the workflow reports that.
    """

    run: str
    step: str
    token: str
    pid: int
    at: float
    after: str = ""


class Journal:
    """Every execution so far, in the order of their beginnings."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._pipe = os.open(
            path, os.O_RDWR
        )  # with a writer of our own, so that reading never ends
        self._lines: list[Execution] = []
        self._mark = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="journal")
        self._thread.start()

    def executions(self) -> list[Execution]:
        """All executions, including those that dead processes have reported."""
        marker = self._write_marker()
        self.wait_for(lambda each: each.token == marker)
        with self._changed:
            return [each for each in self._lines if each.run]

    def by_step(self) -> dict[tuple[str, str], list[Execution]]:
        """The executions of each (run, step)."""
        found: dict[tuple[str, str], list[Execution]] = defaultdict(list)
        for each in self.executions():
            found[each.run, each.step].append(each)
        return found

    def wait_for(
        self, matches: Callable[[Execution], bool], *, count: int = 1, timeout: float = TIMEOUT
    ) -> list[Execution]:
        """Wait until ``count`` executions match. Returns all that match."""
        found: list[Execution] = []
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                found += filter(matches, self._lines[seen:])
                seen = len(self._lines)
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                assert left > 0, f"{len(found)} of {count} executions after {timeout:g} s"
                self._changed.wait(left)

    def wait_for_more(self, count: int) -> None:
        """Wait for ``count`` executions from now on."""
        with self._changed:
            already = len(self._lines)
        self.wait_for(lambda _: True, count=already + count)

    def wait_for_next(self, count: int) -> None:
        """Wait for ``count`` executions beyond those that the last such call waited for.

        The waits of a loop then add up to a fixed number of executions, however fast these are.
        """
        self._mark += count
        self.wait_for(lambda _: True, count=self._mark)

    def close(self) -> None:
        self._write_marker("end")
        self._thread.join()
        os.close(self._pipe)

    def _write_marker(self, step: str = "marker") -> str:
        token = uuid4().hex
        line = {"run": "", "step": step, "token": token, "pid": 0, "at": 0}
        os.write(self._pipe, json.dumps(line).encode() + b"\n")
        return token

    def _read(self) -> None:
        rest = b""
        while True:
            *lines, rest = (rest + os.read(self._pipe, 1 << 16)).split(b"\n")
            new = [Execution(**json.loads(line)) for line in lines]
            with self._changed:
                self._lines += new
                self._changed.notify_all()
            if any(each.step == "end" and not each.run for each in new):
                return


class HeldStep:
    """A step that waits for a command: ``go``, ``fail``, ``exit 7``, ``segfault``, …"""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        with connection.makefile("rb") as lines:
            said = json.loads(lines.readline())
        self.run: str = said["run"]
        self.step: str = said["step"]
        self.token: str = said["token"]
        self.pid: int = said["pid"]

    def __repr__(self) -> str:
        return f"<{self.step} of {self.run} in {self.pid}>"

    def command(self, word: str) -> None:
        """Send the command. Does nothing if the process is dead."""
        with suppress(OSError), self._connection:
            self._connection.sendall(word.encode())

    def wait_until_gone(self) -> None:
        """Wait until the process is dead, without a command."""
        with self._connection:
            self._connection.settimeout(TIMEOUT)
            with suppress(ConnectionError):
                assert self._connection.recv(1) == b""


class Gate:
    """The socket at which steps wait for commands."""

    def __init__(self, path: Path) -> None:
        self._reported: queue.SimpleQueue[HeldStep | None] = queue.SimpleQueue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(256)
        self._waiting: list[HeldStep] = []
        self._thread = threading.Thread(target=self._accept, name="gate")
        self._thread.start()

    def poll(self, seconds: float) -> HeldStep | None:
        """The next step that waits; None after so many seconds without one."""
        try:
            held_step = self._reported.get(timeout=seconds)
        except queue.Empty:
            return None
        assert held_step is not None
        self._waiting.append(held_step)
        return held_step

    def next(self, timeout: float = TIMEOUT) -> HeldStep:
        """The next step that waits. Fails without one."""
        held_step = self.poll(timeout)
        assert held_step is not None, f"no step arrived within {timeout:g} s"
        return held_step

    def take(self, count: int) -> list[HeldStep]:
        return [self.next() for _ in range(count)]

    def answer(
        self, commands: Mapping[str, str] | None = None, *, until: Callable[[], bool]
    ) -> list[HeldStep]:
        """Send each step the command of its run in ``commands``, or ``go``, until ``until()``.

        Returns these steps.
        """
        held_steps: list[HeldStep] = []
        deadline = time.monotonic() + TIMEOUT
        while not until():
            assert time.monotonic() < deadline, f"not so after {len(held_steps)} arrivals"
            if (held_step := self.poll(0.05)) is not None:
                held_steps.append(held_step)
                held_step.command((commands or {}).get(held_step.run, "go"))
        return held_steps

    def close(self) -> None:
        """Let all steps that wait fail, and close the socket."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for held_step in [*self._waiting, *self._left()]:
            held_step.command("fail")

    def _left(self) -> Iterator[HeldStep]:
        while (held_step := self._reported.get()) is not None:
            yield held_step

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            try:
                self._reported.put(HeldStep(connection))
            except (OSError, ValueError):  # the process was killed before it sent its line
                connection.close()
        self._reported.put(None)
