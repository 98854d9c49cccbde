"""Which supervisors hear of new runs. Pure: no clock, no database.

A notification wakes every process that listens for it, although one of them takes the run. So only
a few of the supervisors that serve a workflow are *on call*: they listen for new runs. The others
hear what is passed on to them, when those on call have no room (``turns``), and cancellations.

Nobody is elected. Each supervisor decides for itself, after each look at the others
(``presence``). All put the supervisors in the same order: those with little to do come first, then
those that are on call already, so that the places do not move without need, and then a hash
decides. A supervisor is on call unless ENOUGH others are before it that serve all that it serves,
with SPARE times as many free slots as are busy anywhere. So of each workflow, the first ENOUGH of
the supervisors that serve it are on call, whatever else they serve, and all of them if there are
fewer. Where more is to do, more of them are, and all long before all are busy.

A supervisor goes on call at once, and looks for runs of which nobody on call may have heard. It
leaves only after some looks in a row, in each of which ENOUGH others before it were on call by
their own word. It says so first, and goes when the others have seen that, so that nobody leaves
turns to it any more. In doubt it is on call: at first, after a reconnection, when it serves other
workflows than before, while it cannot look, and when several others pass on runs: those on call
run short of room, and others notice that before the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Final

from owsuper.supervisor.peers import Occupancy, Peer, Workflow, place

ENOUGH: Final = 8
"""How many supervisors of a workflow are on call. One that is gone costs some milliseconds."""
SPARE: Final = 2
"""How many free slots those on call have for each slot that is busy anywhere."""
SHORT: Final = 3
"""How many supervisors pass on runs when those on call run short of room."""
LOOKS: Final = 3
"""How many looks in a row must show that a supervisor need not be on call."""
NOTICED: Final = 8.0
"""Seconds until the others have seen what a supervisor says, which takes up to 7 s."""

_log = logging.getLogger("owsuper.supervisor")


class OnCall:
    """Whether the supervisor ``supervisor_id`` is on call. Times are of one monotonic clock.

    ``on_call``: it listens for new runs. ``stays``: it is on call, and says so; one that says
    otherwise leaves soon. ``on_change`` is called when it goes on call (True) and when it has left
    (False).
    """

    def __init__(self, supervisor_id: str) -> None:
        self.on_call = True
        self.on_change: Callable[[bool], None] = lambda on_call: None
        self._id = supervisor_id
        self._serving: frozenset[Workflow] = frozenset()  # at the latest look
        self._needless_looks = 0  # in a row
        self._leaves_at: float | None = None
        self._passed_on: dict[str, float] = {}  # when others last did so

    @property
    def stays(self) -> bool:
        """Whether it is on call and does not leave soon."""
        return self.on_call and self._leaves_at is None

    def look(
        self,
        now: float,
        peers: Collection[Peer],
        *,
        serving: Collection[Workflow],
        free: int,
        slots: int,
        busy: int,
    ) -> None:
        """Decide, after a look at the others.

        ``serving``, ``free`` and ``slots`` are this supervisor's, as it has told the others.
        ``busy`` slots are those of all supervisors.
        """
        self._serving = frozenset(serving)
        own = Peer(self._id, self._serving, self.stays, free, slots)
        before = [
            peer
            for peer in peers
            if self._serving <= peer.workflows
            and peer.supervisor_id != self._id
            and _order(peer) < _order(own)
        ]
        if not _suffice(before, busy):
            self.doubt()
        elif self.on_call and not _suffice([peer for peer in before if peer.on_call], busy):
            self.doubt()  # they are to go on call, and have not said that they are
        elif self.on_call:
            self._look_without_need(now)

    def _look_without_need(self, now: float) -> None:
        self._needless_looks += 1
        if self._leaves_at is None and self._needless_looks >= LOOKS:
            self._leaves_at = now + NOTICED
        elif self._leaves_at is not None and now >= self._leaves_at:
            self._change(on_call=False)

    def serve(self, workflows: Collection[Workflow]) -> None:
        """Note which workflows this supervisor serves from now on."""
        if frozenset(workflows) != self._serving:
            self.doubt()

    def on_passed_on(self, now: float, supervisor: str) -> None:
        """Another supervisor has no room for runs."""
        self._passed_on[supervisor] = now
        if len(self._passed_on) < SHORT:
            return
        self._passed_on = {
            each: moment for each, moment in self._passed_on.items() if now - moment < NOTICED
        }
        if len(self._passed_on) >= SHORT:
            self.doubt()

    def doubt(self) -> None:
        """Be on call until some looks have shown that there is no need."""
        self._needless_looks, self._leaves_at = 0, None
        if not self.on_call:
            self._change(on_call=True)

    def _change(self, *, on_call: bool) -> None:
        _log.debug("listens for new runs" if on_call else "leaves new runs to those on call")
        self.on_call, self._needless_looks, self._leaves_at = on_call, 0, None
        self.on_change(on_call)


def _suffice(peers: Collection[Peer], busy: int) -> bool:
    return len(peers) >= ENOUGH and sum(peer.free for peer in peers) >= SPARE * busy


def _order(peer: Peer) -> tuple[Occupancy, bool, bytes]:
    return peer.occupancy, not peer.on_call, place("on call", peer.supervisor_id)
