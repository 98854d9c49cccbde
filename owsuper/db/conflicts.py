"""The statements of starts under a limit with ``on_conflict``, as those of ``db.clients``."""

from __future__ import annotations

from dataclasses import dataclass

from owsuper.db import new_runs
from owsuper.db.clients import Operation
from owsuper.db.new_runs import Conflict, NewRun
from owsuper.db.related import lock_text
from owsuper.db.statement import load


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run of a key that has not ended. ``amount`` is that of the limit, if workers know it."""

    run_id: str
    began: bool
    amount: int | None
    workflow_name: str
    version: str | None


class ConflictQueries:
    """The statements of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._lock = load("start_lock", schema)
        self._find = load("find_conflicts", schema)
        self._note = load("note_conflict", schema)
        self._debounce = load("debounce", schema)

    def lock(self, conflict: Conflict) -> Operation[None]:
        """Make other starts of the key wait for the end of the transaction."""
        text = lock_text(self._namespace, f"owsuper:limit:{conflict.limit}", conflict.key)
        return Operation(((self._lock, (text,)),), lambda _: None)

    def find(self, conflict: Conflict) -> Operation[list[Unfinished]]:
        """Return the runs of the key that have not ended, the oldest first."""
        params = (self._namespace, conflict.limit, conflict.key)
        return Operation(
            ((self._find, params),), lambda results: [Unfinished(*row) for row in results[0]]
        )

    def note(self, conflict: Conflict, run_id: str) -> Operation[None]:
        """Note a run of the key."""
        params = (self._namespace, conflict.limit, conflict.key, run_id)
        return Operation(((self._note, params),), lambda _: None)

    def debounce(self, run_id: str, delay: float, new: NewRun) -> Operation[bool]:
        """Give a run the input of ``new``; return whether it had not begun."""
        params = (self._namespace, run_id, delay, new_runs.document([new]))
        return Operation(((self._debounce, params),), lambda results: bool(results[0]))
