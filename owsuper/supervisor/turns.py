"""Which supervisor looks for due runs first, and which later. Pure: no clock, no database.

Several supervisors hear of a new run: those that are on call (``on_call``). If all of them looked
at once, a run would cost as many claims. So they take turns. A hash of the notification and of each
supervisor's id puts the supervisors in an order, which all of them know without asking each other.
The first looks at once. The second looks after 5 ms, the third after 20 ms, and so on; each finds
nothing, unless those before it are gone, busy, or slower than that. One look serves for all
notifications before it. So a notification costs a few looks, however many supervisors there are,
and each that is on call is the first for its share of the notifications. All supervisors hear
what is passed on, and take turns in that.

A supervisor knows the others as of some seconds ago, and two supervisors may know different ones.
Then two of them look first, or the first to look does so some milliseconds later. No run depends
on it: every supervisor has its turn at last, and polls.

Only those others count that would take any run that this supervisor would take: they serve all of
its workflows. So among the supervisors of a workflow, whatever else they serve, one is first: the
one whose hash is the lowest of all that serve it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Final
from zlib import crc32

from owsuper.supervisor.on_call import NOTICED
from owsuper.supervisor.peers import Peer, Workflow, place

_log = logging.getLogger("owsuper.supervisor")

# Seconds. A claim takes one or two milliseconds, so the second look mostly finds that the first was
# made.
_SECOND_LOOK: Final = 0.005
_GROWTH: Final = 4
_MOST_GROWTHS: Final = 5  # then the wait is longer than the longest
LONGEST_WAIT: Final = 2.0
"""The longest wait for a turn, in seconds."""
_PASSED_ON: Final = "more:"  # begins the payload of a notification that was passed on
_SHORTEST_PAUSE: Final = 0.1  # between two notifications that pass on, and the longest
_LONGEST_PAUSE: Final = 1.6
_FIRST_SILENCE: Final = 0.001  # after another's notification; it grows to the longest pause
_SILENCE_GROWTH: Final = 1.5
_ORDERS: Final = 256  # a notification has one of so many orders of the supervisors
_MOST_DOUBLINGS: Final = 5


def passed_on_by(occasion: str) -> str | None:
    """Return who has passed on runs with this notification; None if nobody has."""
    return occasion.rpartition(":")[2] if occasion.startswith(_PASSED_ON) else None


class Turns:
    """The turns of the supervisor ``supervisor_id``. Until it meets others, it is always first."""

    def __init__(self, supervisor_id: str) -> None:
        self._id = supervisor_id
        self._serving: frozenset[Workflow] = frozenset()  # at the last meeting
        self._others: frozenset[str] = frozenset()
        self._before: frozenset[str] = frozenset()  # of them, those whose turns come before it
        self._beside: frozenset[str] = frozenset()  # those with which it shares the turns
        self._ranks: dict[str, int] = {}  # of this supervisor, among all
        self._ranks_beside: dict[str, int] = {}

    def meet(
        self, peers: Collection[Peer], *, serving: Collection[Workflow], on_call: bool = True
    ) -> None:
        """From now on, take turns with those of ``peers`` that serve all that this one does.

        ``serving`` holds the workflows of this supervisor. ``on_call``: it hears of new runs.
        """
        own = self._serving = frozenset(serving)
        companions = [
            peer for peer in peers if own <= peer.workflows and peer.supervisor_id != self._id
        ]
        others = frozenset(peer.supervisor_id for peer in companions)
        called = frozenset(peer.supervisor_id for peer in companions if peer.on_call)
        before, beside = (frozenset[str](), called) if on_call else (called, others - called)
        if (others, before, beside) == (self._others, self._before, self._beside):
            return
        if others != self._others:
            _log.debug("takes turns with other workers: %d", len(others))
        self._others, self._before, self._beside = others, before, beside
        self._ranks.clear()
        self._ranks_beside.clear()

    def serve(self, workflows: Collection[Workflow]) -> None:
        """Note what this supervisor serves from now on; others may serve less. Meet them again."""
        if frozenset(workflows) != self._serving:
            self.meet((), serving=workflows)

    @property
    def with_others(self) -> bool:
        """Whether there are others to take turns with."""
        return bool(self._others)

    def wait(self, occasion: str) -> float:
        """Return how many seconds after this occasion it is this supervisor's turn to look.

        ``occasion`` is a text that all supervisors know: the payload of a notification, a due time.
        """
        if not self._others:
            return 0.0
        order = str(crc32(occasion.encode()) % _ORDERS)
        if occasion.startswith(_PASSED_ON):
            return min(_SECOND_LOOK * self._rank(order), LONGEST_WAIT)
        rank = len(self._before) + self._rank_beside(order)
        if rank == 0:
            return 0.0
        return min(_SECOND_LOOK * float(_GROWTH) ** min(rank - 1, _MOST_GROWTHS), LONGEST_WAIT)

    def payloads(self, begin: int) -> Iterator[str]:
        """Return payloads of notifications that pass on runs, each with another order."""
        tag = crc32(self._id.encode())
        return (f"{_PASSED_ON}{number}:{tag:08x}" for number in count(begin))

    def scale(self, duty: str) -> int:
        """Return how much less often than alone this supervisor performs a duty that all share.

        The first performs it as often as alone, the second half as often, and so on, so that the
        absence of some is made up for.
        """
        return int(2 ** min(self._rank(duty), _MOST_DOUBLINGS))

    def _rank(self, order: str) -> int:
        return self._rank_among(self._others, order, self._ranks)

    def _rank_beside(self, order: str) -> int:
        return self._rank_among(self._beside, order, self._ranks_beside)

    def _rank_among(self, others: Collection[str], order: str, known: dict[str, int]) -> int:
        rank = known.get(order)
        if rank is None:
            own = place(order, self._id)
            rank = known[order] = sum(place(order, other) < own for other in others)
        return rank


class PassingOn:
    """Tells the others of runs for which this supervisor has no room.

    A supervisor that finds more due runs than it can take notifies again, and so does each that
    looks then, and one whose turn it is while it has no room at all: the others may not know yet
    how many of them are busy, and those off call have heard nothing. After such a notification,
    which all hear, the next supervisor looks after 5 ms, the next after 10 ms, and so on. So a
    burst of runs reaches all free supervisors within some milliseconds. While the burst goes on,
    the pauses between the notifications grow.

    Each notification has another order, so a few of them reach all soon, however many there are.
    Whoever hears another's has nothing to add for some time, which also grows. That does not hold
    for one that has no room at all when it should look first: nobody else knows. If it may not
    notify yet, it does so later, unless it can look by then, or another has passed on.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._pause = 0.0
        self.pause_ends_at = 0.0
        self._sent = ""
        self._silence = 0.0
        self._silent_until = 0.0
        self._full_since: float | None = None  # the first turn without room since the last claim
        self.in_turn = False
        """Whether it is this supervisor's turn, and nobody else looks as far as it knows."""

    def on_turn(self) -> None:
        """It is this supervisor's turn to look."""
        self.in_turn = True

    def on_due(self, now: float) -> None:
        """A run is due for which this supervisor keeps watch. In a backlog, nobody need be told."""
        self.in_turn = self.in_turn or now >= self._silent_until

    def on_claim_sent(self) -> None:
        """This supervisor looks now."""
        self.in_turn = False

    def on_claimed(self, now: float, *, more: bool) -> str | None:
        """Return the payload of a notification to send after a claim; None to send none.

        ``more``: runs were due for which the claim had no room. ``now`` is monotonic.
        """
        self._full_since = None
        if not more:
            self._pause = self._silence = 0.0
        return self._payload(now) if more and now >= self._silent_until else None

    def on_heard(self, now: float, occasion: str) -> None:
        """Take note if this is the notification of a supervisor that passes on."""
        if not occasion.startswith(_PASSED_ON):
            return
        self.in_turn = False  # all look now
        if occasion == self._sent:
            return
        if now > self._silent_until + _LONGEST_PAUSE:
            self._silence = 0.0  # that was another burst
        grown = max(_SILENCE_GROWTH * self._silence, _FIRST_SILENCE)
        self._silence = min(grown, _LONGEST_PAUSE)
        self._silent_until = now + self._silence

    def on_no_room(self, now: float) -> str | None:
        """Return such a payload if it is this supervisor's turn, which cannot claim.

        None once the others know that it has no free slot, and look without it. If it is still
        ``in_turn``, call this again at ``pause_ends_at``.
        """
        if not self.in_turn:
            return None
        if self._full_since is None:
            self._full_since = now
        known = now - self._full_since > NOTICED
        payload = None if known else self._payload(now)
        self.in_turn = not known and now < self.pause_ends_at and payload is None
        return payload

    def _payload(self, now: float) -> str | None:
        if not self._turns.with_others or now < self.pause_ends_at:
            return None
        self._pause = min(max(2 * self._pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self.pause_ends_at = now + self._pause
        self._sent = next(
            payload
            for payload in self._turns.payloads(int(now * 1000))
            if self._turns.wait(payload) > 0
        )
        return self._sent


class SharedDuty:
    """A duty on a timer that any supervisor performs for all.

    ``name`` is the same for all supervisors. Call it as often as one supervisor alone would.
    """

    def __init__(self, turns: Turns, name: str, perform: Callable[[], None]) -> None:
        self._turns = turns
        self._name = name
        self._perform = perform
        self._passed = 0

    def __call__(self) -> None:
        """Perform the duty if it is this supervisor's turn."""
        self._passed += 1
        if self._passed >= self._turns.scale(self._name):
            self._passed = 0
            self._perform()
