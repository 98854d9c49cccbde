"""Runs that several callers start at once share a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, TypeAlias

from owsuper.db.group_commit import GroupCommit
from owsuper.db.new_runs import NewRun

Start: TypeAlias = tuple[NewRun, float]
"""A run to start, and when to give up: a time of time.monotonic()."""

_PATIENCE: Final = 10.0  # seconds to wait for the leader of a group commit, which may have died
_LARGE: Final = 65536  # bytes of input; a larger run shares no commit, to delay no other run


class Starts(GroupCommit[Start]):
    """The group commit of a session.

    Tasks may use a session that another task closes. So after that, the thread ends as soon as it
    has stored their runs.
    """

    closed = False

    def __init__(self, store: Callable[[Sequence[Start]], object]) -> None:
        super().__init__(
            store,
            key=lambda start: start[0].id,
            drop_canceled=True,
            patience=_PATIENCE,
            thread_name="owsuper-start",
        )

    def _on_queue_empty(self) -> None:
        if self.closed:
            self._thread = None
            self._calls.put(False)
            self._calls = SimpleQueue()


def is_alone(new: NewRun) -> bool:
    """Return whether the run is to be started by a statement of its own."""
    if new.may_exist:
        return True
    return new.input_json is not None and len(new.input_json) > _LARGE
