"""The statements of clients about limits, as those of ``db.clients``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from owsuper.db.clients import Operation
from owsuper.db.statement import load

MOST_COUNTED: Final = 1000
"""The most runs that are counted of one limit or key."""

_MOST_NAMES: Final = 1000


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A row of ``owsuper_limits``, with the workflows that use it, and two counts."""

    name: str
    kind: str
    amount: int
    declared_amount: int
    period: float | None
    burst: int | None
    key: str | None
    keyed: bool
    hold: str
    workflows: list[str]
    held: int
    waiting: int


@dataclass(frozen=True, slots=True)
class LimitKeyRow:
    """What holds a place and what waits for one key. ``since`` is when the first was due."""

    key: str
    held: int
    waiting: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class LimitWait:
    """The limit for which a run waits. ``ahead`` runs of its key are before it.

    ``next_at`` is when the next may begin; None while all places are taken.
    """

    limit: str
    kind: str
    amount: int
    period: float | None
    key: str
    due: datetime
    held: int
    ahead: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class TurnWait:
    """The rate for which a step waits, until its turn comes ``at``."""

    step_name: str
    limit: str
    amount: int
    period: float
    key: str
    since: datetime
    at: datetime


class LimitReads:
    """The statements of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._list = load("list_limits", schema)
        self._keys = load("list_limit_keys", schema)
        self._set = load("set_limit", schema)
        self._names = load("limit_names", schema)
        self._of_run = load("limit_of_run", schema)
        self._turns = load("turns_of_run", schema)

    def all(self, name: str | None = None) -> Operation[list[LimitRow]]:
        """Return all limits, or that of this name if there is one."""
        params = (self._namespace, name, MOST_COUNTED)
        return Operation(
            ((self._list, params),), lambda results: [LimitRow(*row) for row in results[0]]
        )

    def keys(self, name: str, most: int, after: str | None = None) -> Operation[list[LimitKeyRow]]:
        """Return at most ``most`` keys of a limit that are in use, after the key ``after``."""
        params = (self._namespace, name, most, MOST_COUNTED, after)
        return Operation(
            ((self._keys, params),), lambda results: [LimitKeyRow(*row) for row in results[0]]
        )

    def of_run(self, run_id: str) -> Operation[LimitWait | None]:
        """Return the limit for which a run waits, if there is one."""
        params = (self._namespace, run_id, MOST_COUNTED)
        return Operation(
            ((self._of_run, params),),
            lambda results: LimitWait(*results[0][0]) if results[0] else None,
        )

    def turns_of_run(self, run_id: str, most: int) -> Operation[list[TurnWait]]:
        """Return at most ``most`` steps of a run that wait for limits, the next to begin first."""
        params = (self._namespace, run_id, most)
        return Operation(
            ((self._turns, params),), lambda results: [TurnWait(*row) for row in results[0]]
        )

    def set(self, name: str, amount: int | None) -> Operation[bool]:
        """Set the amount of a limit, or that of its code; return whether there is the limit."""
        params = (self._namespace, name, amount)
        return Operation(((self._set, params),), lambda results: bool(results[0]))

    def names(self) -> Operation[list[str]]:
        """Return the names of the limits."""
        call = (self._names, (self._namespace, _MOST_NAMES))
        return Operation((call,), lambda results: [row[0] for row in results[0]])
