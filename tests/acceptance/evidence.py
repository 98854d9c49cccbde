"""The other end of witness.py: what was executed, and which steps wait for the test's word."""

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

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a step's function. ``at`` is a moment of ``time.monotonic``.

    ``after`` is the token that the step before it had returned, where the workflow says so.
    """

    run: str
    step: str
    token: str
    pid: int
    at: float
    after: str = ""


class Journal:
    """Every execution so far, in the order in which they began."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._pipe = os.open(path, os.O_RDWR)  # a writer of our own: it never ends
        self._lines: list[Execution] = []
        self._mark = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="journal")
        self._thread.start()

    def executions(self) -> list[Execution]:
        """All, including those noted a moment ago by processes that are dead by now."""
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
        self, matches: Callable[[Execution], bool], *, count: int = 1, timeout: float = PATIENCE
    ) -> list[Execution]:
        """Wait until ``count`` executions match; these."""
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
        """Wait for ``count`` executions since those that the last such call waited for.

        So the marks of a loop stay within the work there is, however fast that is done.
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


class Arrival:
    """A step that waits for a word: ``go``, ``fail``, ``exit 7``, ``segfault``, …"""

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

    def say(self, word: str) -> None:
        """Let it go on; nothing happens if its process is dead."""
        with suppress(OSError), self._connection:
            self._connection.sendall(word.encode())

    def wait_until_gone(self) -> None:
        """Wait until its process is dead, without having had its word."""
        with self._connection:
            self._connection.settimeout(PATIENCE)
            with suppress(ConnectionError):
                assert self._connection.recv(1) == b""


class Gate:
    """Where steps wait for the test."""

    def __init__(self, path: Path) -> None:
        self._arrived: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(256)
        self._waiting: list[Arrival] = []
        self._thread = threading.Thread(target=self._accept, name="gate")
        self._thread.start()

    def poll(self, seconds: float) -> Arrival | None:
        """The next step that arrives, or has arrived since the last one was taken."""
        try:
            arrival = self._arrived.get(timeout=seconds)
        except queue.Empty:
            return None
        assert arrival is not None
        self._waiting.append(arrival)
        return arrival

    def next(self, timeout: float = PATIENCE) -> Arrival:
        """As ``poll``; there must be one."""
        arrival = self.poll(timeout)
        assert arrival is not None, f"no step arrived within {timeout:g} s"
        return arrival

    def take(self, count: int) -> list[Arrival]:
        return [self.next() for _ in range(count)]

    def answer(
        self, words: Mapping[str, str] | None = None, *, until: Callable[[], bool]
    ) -> list[Arrival]:
        """Say to whatever arrives the word for its run, or ``go``, until it is so; these."""
        arrived: list[Arrival] = []
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, f"not so after {len(arrived)} arrivals"
            if (arrival := self.poll(0.05)) is not None:
                arrived.append(arrival)
                arrival.say((words or {}).get(arrival.run, "go"))
        return arrived

    def close(self) -> None:
        """Turn everybody away."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for arrival in [*self._waiting, *self._left()]:
            arrival.say("fail")

    def _left(self) -> Iterator[Arrival]:
        while (arrival := self._arrived.get()) is not None:
            yield arrival

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            try:
                self._arrived.put(Arrival(connection))
            except (OSError, ValueError):  # killed before it had said who it is
                connection.close()
        self._arrived.put(None)
