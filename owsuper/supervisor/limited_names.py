"""Which of the served workflows have limits, and so are claimed by a statement of their own.

The database knows, because the limits may be those of another worker's code. A supervisor asks
after every connect, when it serves other workflows, and when a notification says that limits have
changed. Without notifications it asks again from time to time. Nothing is claimed before the first
answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from owsuper.db import claims
from owsuper.db.claims import ClaimQueries
from owsuper.db.statement import NO_TABLE, Result
from owsuper.supervisor.connection import KeptConnection

Workflows: TypeAlias = Sequence[tuple[str, str | None]]

_RETRY: Final = 1.0  # seconds


class LimitedNames:
    """The ``names`` of served workflows with limits.

    ``before_look`` is called before each question, and ``on_found`` with its answer: the names of
    workflows, each with the name of a limit.
    """

    def __init__(self, connection: KeptConnection, queries: ClaimQueries) -> None:
        self.before_look: Callable[[], None] = lambda: None
        self.on_found: Callable[[frozenset[tuple[str, str]]], None] = lambda found: None
        self._connection = connection
        self._queries = queries
        self.names: frozenset[str] = frozenset()
        self._workflows: Workflows = ()  # for which the names are known
        self._known = False
        self._asking = False
        self._retry_at = 0.0  # time.monotonic()

    def on_connection_lost(self) -> None:
        """Ask again after the reconnect, because notifications may be missed."""
        self._known = self._asking = False

    def doubt(self) -> None:
        """Ask again: limits have changed, or may have."""
        self._known = False

    def known(self, workflows: Workflows) -> bool:
        """Whether it is known which of these workflows have limits; ask if it is not."""
        if not workflows or (self._known and not self._asking and workflows is self._workflows):
            return True
        if not self._asking and self._connection.up and time.monotonic() >= self._retry_at:
            self._ask(workflows)
        return False

    def _ask(self, workflows: Workflows) -> None:
        self.before_look()
        if not self._connection.up:
            return
        self._asking, self._known, self._workflows = True, True, workflows
        names = sorted({name for name, _ in workflows})
        statement, params = self._queries.limited_workflows(names)
        self._connection.send(statement, params, self._handle_found)

    def _handle_found(self, result: Result) -> None:
        self._asking = False
        if self._connection.refused("find the limits of workflows", result):
            if result.sqlstate not in NO_TABLE:
                self._known, self._retry_at = False, time.monotonic() + _RETRY
            return
        found = claims.parse_limited(result.rows)
        self.names = frozenset(workflow for workflow, _ in found)
        self.on_found(found)
