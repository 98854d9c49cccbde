"""A tick: one of the moments at which a schedule starts a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

_IDS: Final = UUID("5b0f6a53-7d0c-4d2f-9d6d-0f3a6c2f7b11")  # a namespace of UUIDs, ours alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The input of a run that a schedule starts, if the workflow declares it: ``tick: Tick``.

    ``at`` is the time of the tick, not that of the run, which may begin later. ``previous`` is that
    of the tick before it that has started a run, None for the first. Of runs that are backfilled,
    it is the time before ``at`` in the timetable. Both are in UTC. ``schedule`` is the name.
    """

    at: datetime
    previous: datetime | None
    schedule: str


def as_text(at: datetime) -> str:
    """Return the time of a tick as text; ticks are at whole seconds."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def key_of(schedule: str, at: datetime) -> str:
    """Return the idempotency key of the run that the tick at this time starts."""
    return f"{schedule}@{as_text(at)}"


def run_id_of(namespace: str, schedule: str, workflow_name: str, at: datetime) -> str:
    """Return the id of the run that the tick at this time starts.

    Every host computes the same, so a second run of one tick finds its id taken.
    """
    return str(uuid5(_IDS, "\n".join((namespace, schedule, workflow_name, as_text(at)))))


def delay_of(schedule: str, at: datetime, jitter: float) -> float:
    """Return how many seconds after the tick its run is due: at most ``jitter``.

    It is the same on every host.
    """
    drawn = int.from_bytes(sha256(key_of(schedule, at).encode()).digest()[:8]) / 2**64
    return round(jitter * drawn, 3)
