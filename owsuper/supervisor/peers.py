"""What one supervisor knows of the others, as of some seconds ago. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import TypeAlias

Workflow: TypeAlias = tuple[str, str | None]  # name, version


class Occupancy(IntEnum):
    """How much of a supervisor is busy."""

    LOW = 0  # at least half of its slots are free
    HIGH = 1
    FULL = 2  # no slot is free


@dataclass(frozen=True, slots=True)
class Peer:
    """A supervisor that is there, hears of runs, and has ``free`` of its ``slots``.

    ``on_call``: it hears of new runs, and not only of what is passed on.
    """

    supervisor_id: str
    workflows: frozenset[Workflow]
    on_call: bool = True
    free: int = 1
    slots: int = 1

    @property
    def occupancy(self) -> Occupancy:
        """How much of it is busy."""
        if self.free <= 0:
            return Occupancy.FULL
        return Occupancy.LOW if 2 * self.free >= self.slots else Occupancy.HIGH


def place(order: str, supervisor_id: str) -> bytes:
    """Return the place of a supervisor in an order, which is the same for all who ask."""
    return blake2b(f"{order}:{supervisor_id}".encode(), digest_size=8).digest()
