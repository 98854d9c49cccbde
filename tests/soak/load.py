"""The load of the soak: runs of all kinds, started while faults happen."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from typing import Any

from tests.acceptance.parents import CHILDREN
from tests.acceptance.tables import Tables

OPEN = 60  # runs that may be unfinished at a time
BATCH = 12
PERIOD = 0.2  # seconds

SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("chain", {"steps": 3, "seconds": 0.005}),
    ("chain-async", {"steps": 3, "seconds": 0.005}),
    ("chain", {"steps": 2, "seconds": 0.4}),
    ("linked", {"steps": 4, "seconds": 0.02, "nap": 0.3}),
    ("linked-async", {"steps": 4, "seconds": 0.02, "nap": 0.3}),
    ("parallel", {"width": 4, "seconds": 0.02}),
    ("parallel-async", {"width": 4, "seconds": 0.02}),
    ("nap", {"seconds": 0.2}),
    ("nap-async", {"seconds": 0.2}),
    ("always-due", {"times": 3}),
    ("hog", {"seconds": 0.5}),
    ("parent", {"children": CHILDREN}),
    ("parent-async", {"children": CHILDREN}),
]
PARENTS = ("parent", "parent-async")
LINKED = ("linked", "linked-async")


class Load:
    """Starts runs in a thread of its own. ``runs`` holds their ids by workflow."""

    def __init__(self, tables: Tables, rng: random.Random) -> None:
        self.runs: dict[str, list[str]] = defaultdict(list)
        self.failure: BaseException | None = None
        self._tables = tables
        self._rng = rng
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Start no more runs. Raises the error that ended the thread."""
        self._stop.set()
        self._thread.join()
        self._tables.disconnect()
        if self.failure is not None:
            raise self.failure

    @property
    def count(self) -> int:
        return sum(map(len, self.runs.values()))

    def _run(self) -> None:
        try:
            while not self._stop.wait(PERIOD):
                if self._open() < OPEN:
                    for workflow, input in self._rng.choices(SHAPES, k=BATCH):
                        self.runs[workflow] += self._tables.start(workflow, input)
        except BaseException as failure:
            self.failure = failure

    def _open(self) -> int:
        [(count,)] = self._tables.query(
            "SELECT count(*) FROM {schema}.workflow_runs"
            " WHERE status IN ('pending', 'running', 'sleeping')"
        )
        return int(count)
