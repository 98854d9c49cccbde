"""All that is known of a run as one JSON document, made piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import orjson
from psycopg import Connection

from owsuper.client import models, post_mortem
from owsuper.client.models import StepAttempt
from owsuper.db.dashboard.run_page import (
    ATTEMPT_VALUES,
    RUN_VALUES,
    RunPageQueries,
    StoredValue,
    ValueLimits,
)
from owsuper.db.lists import ListQueries

T = TypeVar("T")
Read: TypeAlias = Callable[[Callable[[Connection[Any]], Any]], Awaitable[Any]]

MAX_ATTEMPTS: Final = 20_000
_PIECE: Final = 20  # attempts whose values are in memory at once, if they are small
_SMALL: Final = ValueLimits(stored=250_000, text=1_000_000)
# One by one: some of them could fill the memory, or take longer than a statement may.
_LARGE: Final = ValueLimits(stored=16_000_000, text=64_000_000)
_NOTHING: Final = ValueLimits(stored=0, text=0)
_TOO_LARGE: Final = "too large: read it with SQL"
_HIDDEN: Final = "hidden"


class RawRun:
    """The document of one run. The text of its values is that of the database.

    ``more_steps`` says whether the run has more step attempts than the document.

    With ``hide``, ``"hidden"`` stands for each value. It stands for the errors' messages as well.
    """

    def __init__(self, schema: str, namespace: str, run_id: str, *, hide: bool) -> None:
        self._pages = RunPageQueries(schema, namespace)
        self._lists = ListQueries(schema, namespace)
        self._run_id = run_id
        self._hide = hide
        self._more = False

    def beginning(self, conn: Connection[Any]) -> tuple[bytes, list[StepAttempt]]:
        """Return the document up to its list of attempts, and these. Raises RunNotFound."""
        run_id = self._run_id
        run = models.run_from_row(self._pages.run(run_id).run(conn))
        limits = _NOTHING if self._hide else _LARGE
        values = self._pages.values(run_id, RUN_VALUES, limits).run(conn)
        found = self._pages.attempts(run_id, MAX_ATTEMPTS + 1).run(conn)
        self._more = len(found) > MAX_ATTEMPTS
        lists = self._lists
        about: dict[str, Any] = {
            "retries": [
                _plain(models.retry_from_row(row)) for row in lists.retries(run_id).run(conn)
            ],
            "post_mortems": [
                asdict(post_mortem.from_row(run_id, row))
                for row in lists.post_mortems(run_id).run(conn)
            ],
            "skipped_signals": [
                asdict(models.skipped_from_row(run_id, row))
                for row in lists.skipped_signals(run_id).run(conn)
            ],
        }
        if self._hide:
            for kind, hidden in _HIDDEN_MEMBERS.items():
                about[kind] = [each | dict.fromkeys(hidden, _HIDDEN) for each in about[kind]]
            run = replace(run, attributes=dict.fromkeys(run.attributes, _HIDDEN))
        document = _members(_plain(run, without=RUN_VALUES) | self._texts(values, RUN_VALUES))
        texts = b'{"run":' + document + b"," + _members(about)[1:-1]
        steps = [models.attempt_from_row(run_id, row) for row, _ in found[:MAX_ATTEMPTS]]
        return texts + b',"steps":[', steps

    async def pieces(
        self, read: Read, beginning: tuple[bytes, list[StepAttempt]]
    ) -> AsyncIterator[bytes]:
        """Yield the document. ``read`` calls a function with a connection."""
        text, steps = beginning
        yield text
        for first in range(0, len(steps), _PIECE):
            piece = steps[first : first + _PIECE]
            ids = [step.id for step in piece]
            limits = _NOTHING if self._hide else _SMALL
            found = await read(partial(self._values_of, ids, ATTEMPT_VALUES, limits))
            for number, step in enumerate(piece, first):
                values = found.get(step.id, {})
                if not self._hide:
                    values = await self._with_large(read, step.id, values)
                plain = _plain(step, without=ATTEMPT_VALUES)
                document = _members(plain | self._texts(values, ATTEMPT_VALUES))
                yield b"," + document if number else document
        yield b'],"more_steps":true}\n' if self._more else b'],"more_steps":false}\n'

    async def _with_large(
        self, read: Read, step_id: str, values: Mapping[str, StoredValue]
    ) -> Mapping[str, StoredValue]:
        large: dict[str, StoredValue] = {}
        for name in [name for name, value in values.items() if value.text is None]:
            found = await read(partial(self._values_of, [step_id], [name], _LARGE))
            large |= found.get(step_id, {})
        return {**values, **large}

    def _values_of(
        self,
        ids: Sequence[str],
        names: Sequence[str],
        limits: ValueLimits,
        conn: Connection[Any],
    ) -> dict[str, dict[str, StoredValue]]:
        return self._pages.attempt_values(self._run_id, ids, names, limits).run(conn)

    def _texts(self, values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        texts: dict[str, Any] = {}
        for name in names:
            value = values.get(name)
            if value is None:
                texts[name] = None
            elif self._hide or value.text is None:
                texts[name] = _HIDDEN if self._hide else _TOO_LARGE
            else:
                texts[name] = orjson.Fragment(value.text)
        return texts


_HIDDEN_MEMBERS: Final = {
    "retries": ("error",),
    "post_mortems": ("stderr", "trace"),
    "skipped_signals": ("data", "reason"),
}


def _plain(item: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON has them."""
    members = {
        each.name: getattr(item, each.name) for each in fields(item) if each.name not in without
    }
    if (error := members.get("error")) is not None:
        members["error"] = error.to_json()
    return members


def _members(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)
