"""Stores the limits of the workflows that are served, once for each code that is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from owsuper.db.limits import LimitQueries, parse_registered
from owsuper.db.statement import Result
from owsuper.ipc.messages import ApplicationLoaded
from owsuper.supervisor.connection import KeptConnection

_SAID: Final = {
    "stored": 'limit "%s": stored',
    "changed": 'limit "%s": changed to the definition of this code, which is newer',
    "removed": 'limit "%s": removed, because this code has it no more',
}
_OLDER: Final = (
    'limit "%s": this code defines it differently from newer code, whose definition holds'
)

_log = logging.getLogger("owsuper.supervisor")


class LimitRegistration:
    """The limits of the code that is ``loaded``, for the workflows that are ``served``.

    Limits are stored once for each code: a worker of older code does not store them again, after an
    outage for example, when newer code has changed them. ``refused``: the database would not store
    them, for want of a privilege for example. Then call ``send`` again some time. ``unstored`` are
    the names of workflows whose runs must not begin until then, because nobody would limit them.
    """

    def __init__(
        self,
        connection: KeptConnection,
        queries: LimitQueries,
        *,
        served: Callable[[], Iterable[tuple[str, str | None]]],
        loaded: Callable[[], ApplicationLoaded | None],
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._served = served
        self._loaded = loaded
        self._sent: ApplicationLoaded | None = None
        self.refused = False
        self.unstored: frozenset[str] = frozenset()

    def send(self) -> None:
        """Store the limits of the code, if it has any and they were not stored yet."""
        loaded = self._loaded()
        if loaded is not None and loaded.limits:
            self._send(loaded)

    def on_found(self, names: Iterable[tuple[str, str]]) -> None:
        """Forget limits that are stored and that the code has not; note those that are not stored.

        ``names`` are those of served workflows, each with the name of a limit.
        """
        loaded = self._loaded()
        if loaded is None:
            return
        own = {
            (workflow, limit["name"])
            for limit in _definitions(loaded)
            for workflow in limit["workflows"]
        }
        self._note_unstored(own.difference(names) if self.refused else ())
        if not own.issuperset(names):
            self._send(loaded)

    def _note_unstored(self, pairs: Collection[tuple[str, str]]) -> None:
        served = {name for name, _ in self._served()} if pairs else set[str]()
        unstored = frozenset(workflow for workflow, _ in pairs if workflow in served)
        if unstored != self.unstored and unstored:
            _log.error(
                "no runs of %s are claimed until the limits are stored",
                ", ".join(sorted(unstored)),
            )
        self.unstored = unstored

    def _send(self, loaded: ApplicationLoaded) -> None:
        if loaded is self._sent:
            return
        self._sent = loaded
        statement, params = self._queries.register(
            _definitions(loaded),
            (name for name, _ in self._served()),
            datetime.fromtimestamp(loaded.loaded_at, UTC).isoformat(),
        )
        self._connection.send_reliably(statement, params, self._handle_registered)

    def _handle_registered(self, result: Result) -> None:
        self.refused = self._connection.refused("store the limits of workflows", result)
        if self.refused:
            self._sent = None
            return
        for name, what in parse_registered(result.rows):
            if what == "older":
                _log.warning(_OLDER, name)
            else:
                _log.info(_SAID[what], name)


def _definitions(loaded: ApplicationLoaded) -> list[dict[str, Any]]:
    return orjson.loads(loaded.limits) if loaded.limits else []
