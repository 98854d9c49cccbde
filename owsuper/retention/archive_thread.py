"""Writes copies of runs without blocking the event loop: a flush to disk may take seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from owsuper.event_loop import Loop, Waker
from owsuper.retention.archive import Archive

OnDone = Callable[[Exception | None], None]


class ArchiveThread:
    """Writes to an archive, in a thread that lives as long as the write."""

    def __init__(self, loop: Loop, archive: Archive) -> None:
        self._loop = loop
        self._archive = archive
        self._waker = Waker(self._finish)
        self._loop.add(self._waker)
        self._on_done: OnDone | None = None
        self._error: Exception | None = None

    def write(self, lines: Sequence[str], on_done: OnDone) -> None:
        """Write the lines; call ``on_done`` from the loop with the error, if there is one.

        Another write must not begin before that.
        """
        self._on_done = on_done

        def work() -> None:
            try:
                self._archive.write(lines)
                self._error = None
            except Exception as error:  # out of memory: the loop waits for an answer
                self._error = error
            self._waker.wake()

        try:
            threading.Thread(target=work, name="owsuper-archive", daemon=True).start()
        except RuntimeError as error:  # no more threads
            self._error = error
            self._waker.wake()

    def close(self) -> None:
        """Call nobody any more. A write that has begun goes on."""
        self._on_done = None
        self._loop.remove(self._waker)
        self._waker.close()

    def _finish(self) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(self._error)
