"""The statements about the audit table: who asked for which action, and what came of it.

An entry is written and committed before its action, and the answer after it, in another
transaction. One transaction for all would lose the entry of whatever fails, is refused, or dies
with its process, and these are the entries that somebody looks for later. An entry without a last
answer says that the process ended, or lost the database, between the two; the run itself shows
then what was done. Rows are added, and never changed: a trigger refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from owsuper.core.pages import Position, Window
from owsuper.db.clients import Operation, Rows
from owsuper.db.statement import load
from owsuper.ids import new_id

KEPT_DAYS: Final = 400
"""Days after which an entry is deleted, by the entries that are written later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An action that somebody has asked for.

    ``id`` is that of the form, so a form that is submitted twice has one entry. ``target`` says
    which runs, signal, workflow or worker; ``arguments`` what was given. Both are JSON values.
    """

    id: str
    user: str | None
    address: str | None
    action: str
    target: Mapping[str, Any]
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEntry:
    """An entry of the audit table. JSON values are decoded.

    ``done`` and ``refused`` count runs. ``answered_at`` and ``details`` are those of the last
    answer, and None as long as there is none.
    """

    id: str
    asked_at: datetime
    user: str | None
    address: str | None
    action: str
    target: Any
    arguments: Any
    done: int
    refused: int
    answered_at: datetime | None
    details: Any


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """An answer to an action, or a part of it; see ``AuditQueries.answer``."""

    number: int
    answered_at: datetime
    is_last: bool
    done: int
    refused: int
    details: Any


class AuditQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._intend = load("audit_intend", schema)
        self._attempt = load("audit_attempt", schema)
        self._answer = load("audit_answer", schema)
        self._list = load("list_audit", schema)
        self._get = load("get_audit", schema)
        self._answers = load("list_audit_answers", schema)

    def intend(self, intent: Intent) -> Operation[bool]:
        """Write an entry; return whether it is new. May be repeated if the answer is lost."""
        attempt = new_id()
        params = (
            self._namespace,
            intent.id,
            attempt,
            intent.user,
            intent.address,
            intent.action,
            _json(intent.target),
            None if intent.arguments is None else _json(intent.arguments),
            KEPT_DAYS,
        )
        return Operation(
            ((self._intend, params), (self._attempt, (self._namespace, intent.id))),
            lambda results: bool(results[1] == [(attempt,)]),
        )

    def answer(
        self,
        entry_id: str,
        *,
        done: int,
        refused: int,
        details: Any,
        number: int = 0,
        is_last: bool = True,
    ) -> Operation[None]:
        """Write an answer, or the part with this ``number``. May be repeated."""
        params = (self._namespace, entry_id, number, is_last, done, refused, _json(details))
        return Operation(((self._answer, params),), lambda _: None)

    def entries(self, window: Window) -> Operation[list[ActionEntry]]:
        """Return entries, the newest first: one more than the limit if there is one.

        The window goes forward only.
        """
        at, last_id = ("infinity", "")
        if window.position is not None:
            at, last_id = window.position.created_at.isoformat(), window.position.id
        params = (self._namespace, at, last_id, window.limit + 1)
        return Operation(((self._list, params),), lambda results: [*map(_entry, results[0])])

    def entry(self, entry_id: str) -> Operation[ActionEntry | None]:
        """Return one entry, or None."""

        def parse(results: list[Rows]) -> ActionEntry | None:
            return _entry(results[0][0]) if results[0] else None

        return Operation(((self._get, (self._namespace, entry_id)),), parse)

    def answers(self, entry_id: str) -> Operation[list[PartialAnswer]]:
        """Return the answers of an entry, in their order."""

        def parse(results: list[Rows]) -> list[PartialAnswer]:
            return [
                PartialAnswer(number, answered_at, is_last, done, refused, orjson.loads(details))
                for number, answered_at, is_last, done, refused, details in results[0]
            ]

        return Operation(((self._answers, (self._namespace, entry_id)),), parse)


def position_of(entry: ActionEntry) -> Position:
    """Return the position of an entry in the list."""
    return Position(entry.asked_at, entry.id)


def _entry(row: tuple[Any, ...]) -> ActionEntry:
    entry_id, asked_at, user, address, action, target, arguments, done, refused, at, details = row
    return ActionEntry(
        id=entry_id,
        asked_at=asked_at,
        user=user,
        address=address,
        action=action,
        target=orjson.loads(target),
        arguments=None if arguments is None else orjson.loads(arguments),
        done=done,
        refused=refused,
        answered_at=at,
        details=None if details is None else orjson.loads(details),
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
