"""Threads for ``def`` workflows: one a busy slot, started when first needed, then kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class SlotThreads:
    """Runs jobs in as many threads as there are jobs at once."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def start(self, job: Callable[[], None]) -> None:
        """Run ``job``, which must not raise, in a thread that does nothing else meanwhile."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                threading.Thread(target=self._work, name="owsuper-slot", daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            job()
            del job  # do not hold a run's data while waiting for the next
            with self._lock:
                self._idle += 1
