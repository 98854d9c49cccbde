"""A dashboard in a process of its own, and browsers that have its pages open.

A browser does what ``dashboard/static/live.js`` does: it listens for changes, and asks for its page
again when something has changed, but not more often than the page's own code would.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, urlsplit

from benchmarks.environment import Environment
from owsuper.bench.samples import BenchmarkError

_ADDRESS = re.compile(r"http://\S+?(?=/ )")
_TOPICS = re.compile(r'data-topics="([^"]*)"')
_LEAST_PAUSE = 1.0  # seconds between two requests of a page, and
_SHARE = 10  # so many times as long as the last one took
_PATIENCE = 30.0  # seconds


class Dashboard:
    """``owsuper dashboard`` on the schema of a measurement."""

    def __init__(self, address: str, pid: int) -> None:
        self._host = urlsplit(address).netloc
        self.pid = pid
        self.requests = 0  # of the pages of ``open_pages``
        self._ends = threading.Event()

    def get(self, path: str) -> tuple[float, str]:
        """How many seconds a page took, and its text. Raises BenchmarkError."""
        connection = HTTPConnection(self._host, timeout=_PATIENCE)
        began = time.perf_counter()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, HTTPException) as error:
            raise BenchmarkError(f"the dashboard did not answer {path}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise BenchmarkError(f"the dashboard answered {path} with status {response.status}")
        return time.perf_counter() - began, text

    @contextmanager
    def open_pages(self, paths: Sequence[str]) -> Iterator[None]:
        """Keep these pages open meanwhile, from when each was asked for again once.

        Raises BenchmarkError.
        """
        self._ends.clear()
        before, give_up = self.requests, time.perf_counter() + _PATIENCE
        topics = [_TOPICS.search(self.get(path)[1]) for path in paths]
        browsers = [
            threading.Thread(target=self._browse, args=(path, topic[1] if topic else "runs"))
            for path, topic in zip(paths, topics, strict=True)
        ]
        for browser in browsers:
            browser.start()
        try:
            while self.requests < before + len(paths):
                if time.perf_counter() > give_up:
                    raise BenchmarkError("pages were not asked for again")
                time.sleep(0.05)
            yield
        finally:
            self._ends.set()
            for browser in browsers:
                browser.join()

    def _browse(self, path: str, topic: str) -> None:
        connection = HTTPConnection(self._host, timeout=_PATIENCE)
        connection.request("GET", f"/live?topic={quote(topic)}")
        stream = connection.getresponse()
        allowed_at = 0.0
        while not self._ends.is_set():
            line = stream.readline()
            if not line.startswith((b"event: ready", b"event: changed")):
                continue
            if self._ends.wait(max(0.0, allowed_at - time.perf_counter())):
                break
            took, _ = self.get(path)
            self.requests += 1
            allowed_at = time.perf_counter() + max(_LEAST_PAUSE, _SHARE * took)
        connection.close()


@contextmanager
def dashboard(env: Environment) -> Iterator[Dashboard]:
    """A dashboard that answers, and is stopped at the end. Raises BenchmarkError."""
    process = subprocess.Popen(
        [sys.executable, "-m", "owsuper", "dashboard", "--port", "0", "--schema", env.schema,
         "--database-url", env.server.url],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        if (address := _ADDRESS.search(line)) is None:
            raise BenchmarkError(f"the dashboard did not start: {line}")
        yield Dashboard(address[0], process.pid)
    finally:
        process.terminate()
        process.communicate()
