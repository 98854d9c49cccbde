"""The statement of clients about the workers of a namespace, as those of ``db.clients``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from owsuper.db.clients import Operation, Rows
from owsuper.db.listen import DRAIN, STACKS, workers_channel
from owsuper.db.presence import STALE
from owsuper.db.statement import load


@dataclass(frozen=True, slots=True)
class SupervisorRow:
    """A row of ``owsuper_supervisors``, read at ``now`` of the database's clock.

    ``connected`` says whether the supervisor has a session, or has announced itself lately if it
    is ``pooled``. ``workflows`` and ``status`` are JSON values, or None; see
    ``supervisor/announcement.py``.
    """

    id: str
    host: str
    pid: int
    pooled: bool
    connected_at: datetime
    announced_at: datetime | None
    now: datetime
    version: str | None
    workflows: Any
    status: Any
    connected: bool

    def stacks(self, token: str) -> dict[str, str] | None:
        """Return the stacks for whom asked with ``token``, by number of the child; else None."""
        try:
            answer = self.status["stacks"]
            return answer["of"] if token in answer["asked"] else None
        except (LookupError, TypeError):  # nobody has asked, or it is of another version
            return None

    @property
    def silent(self) -> bool:
        """Whether the supervisor is connected, but does not announce itself any more."""
        if not self.connected or self.announced_at is None:
            return False
        return (self.now - self.announced_at).total_seconds() > STALE


class WorkerQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._channel = workers_channel(schema, namespace)
        self._notify = load("notify", schema)
        self._list = load("list_supervisors", schema)
        self._standing = load("standing", schema)

    def all(self) -> Operation[list[SupervisorRow]]:
        """Return all supervisors that are connected, or were and are not forgotten yet."""
        return Operation(
            ((self._list, (self._namespace, STALE)),),
            lambda results: [SupervisorRow(*row) for row in results[0]],
        )

    def ask_for_stacks(self, token: str) -> Operation[None]:
        """Ask all supervisors that listen to announce the stacks of their children.

        They do so within some seconds, with this ``token``; see ``SupervisorRow.stacks``.
        """
        call = (self._notify, (self._channel, f"{STACKS}{token}"))
        return Operation((call,), lambda _: None)

    def drain(self, supervisor_id: str) -> Operation[None]:
        """Ask one supervisor to finish its runs, take no others, and end.

        It announces itself as draining, then leaves. One that does not listen never hears of it.
        """
        call = (self._notify, (self._channel, f"{DRAIN}{supervisor_id}"))
        return Operation((call,), lambda _: None)

    def standing(self, run_id: str) -> Operation[tuple[datetime, int]]:
        """Return the present time, and the number of crashes that are counted of a run."""

        def parse(results: list[Rows]) -> tuple[datetime, int]:
            [(now, crashes)] = results[0]
            return now, crashes

        return Operation(((self._standing, (self._namespace, run_id)),), parse)
