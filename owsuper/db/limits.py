"""The statements of supervisors that store the limits of workflows, as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from owsuper.db.claims import Call, Rows, text
from owsuper.db.statement import load


class LimitQueries:
    """The statements of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._register = load("register_limits", schema)

    def register(
        self, limits: Sequence[dict[str, Any]], served: Iterable[str], loaded_at: str
    ) -> Call:
        """Store these limits of the workflows ``served``; see ``parse_registered``.

        ``limits`` are those of ``describe_limits``. ``loaded_at`` is when their code was loaded, as
        text with a time zone.
        """
        names = set(served)
        documents = []
        for limit in limits:
            users = [each for each in limit["workflows"] if each in names]
            if users:
                document = {**limit, "steps": limit["path"], "workflows": users}
                del document["path"]
                documents.append(document)
        return self._register, (
            self._namespace,
            orjson.dumps(documents).decode(),
            orjson.dumps(sorted(names)).decode(),
            loaded_at,
        )


def parse_registered(rows: Rows) -> list[tuple[str, str]]:
    """Return the name of each limit that has changed, and what became of it."""
    return [(text(name), text(what)) for name, what in rows]
