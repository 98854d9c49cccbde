"""``--burst``: when a worker may stop because nothing is due.

An idle worker has nothing left to do once a sweep has released what dead workers hold, and a claim
after that has looked through the whole queue and found nothing. Both are statements of one
connection, so the claim sees what the sweep, and the runs before it, have written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final

from owsuper.supervisor.claims import Claims
from owsuper.supervisor.sweeps import Sweeps
from owsuper.supervisor.undone_workflows import UndoneWorkflows

# Seconds. A claim reports runs that another session has locked as due in 0.02 s.
_AT_ONCE: Final = 0.05


class _Stage(Enum):
    SERVING = auto()
    SWEEPING = auto()
    LOOKING = auto()
    NOTHING_DUE = auto()


class Burst:
    """Finds out whether any run is due. ``claim_soon`` must bring about a claim."""

    def __init__(
        self,
        claims: Claims,
        sweeps: Sweeps,
        undone: UndoneWorkflows,
        claim_soon: Callable[[], None],
    ) -> None:
        self._claims = claims
        self._sweeps = sweeps
        self._undone = undone
        self._claim_soon = claim_soon
        self._stage = _Stage.SERVING

    def is_over(self, *, idle: bool, workflows: Sequence[tuple[str, str | None]]) -> bool:
        """Whether the worker, which holds no run if it is ``idle``, has nothing left to do.

        Call this after every turn of the loop.
        """
        if not idle or not self._claims.connected:
            self._stage = _Stage.SERVING
        elif self._stage is _Stage.SERVING:
            if not self._claims.claiming and not self._sweeps.in_flight:
                self._sweeps.sweep_all(workflows)
                self._undone.look()
                self._stage = _Stage.SWEEPING
        elif self._stage is _Stage.SWEEPING and not (
            self._sweeps.in_flight or self._undone.looking
        ):
            self._claims.scan_all()
            self._claim_soon()
            self._stage = _Stage.LOOKING
        return self._stage is _Stage.NOTHING_DUE

    def on_claimed(self, count: int, next_due: float | None) -> None:
        """A claim brought ``count`` runs; another is due in ``next_due`` seconds, None for none."""
        later = next_due is None or next_due > _AT_ONCE
        if self._stage is _Stage.LOOKING and not count and later:
            self._stage = _Stage.NOTHING_DUE
