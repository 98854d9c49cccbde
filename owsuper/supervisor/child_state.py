"""The life of a child process as a table.

    FORKING ─ forked → STARTING ─ ready → READY ─ drain → DRAINING ─ stop → STOPPING
       └───────────────── ready ────────────┘
    any of them ─ eof → LOST ─ exited → EXITED

Two sockets report about one child: its own pipe (ready, eof) and the template's (forked,
exited). The two are not ordered, so ``ready`` may come before ``forked``, and ``exited`` before
``eof``. A child is LOST for the short time in which its pipe is closed and its wait status has
not arrived yet.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from owsuper.errors import OwsuperError


class ChildState(StrEnum):
    """Where a child is in its life."""

    FORKING = "forking"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    LOST = "lost"
    EXITED = "exited"


class ChildEvent(StrEnum):
    """What may happen to a child."""

    FORKED = "forked"
    READY = "ready"
    DRAIN = "drain"
    STOP = "stop"
    EOF = "eof"
    EXITED = "exited"


class IllegalTransition(OwsuperError):
    """An event is impossible in the child's state: a bug in the supervisor."""

    def __init__(self, state: ChildState, event: ChildEvent) -> None:
        super().__init__(f"A child that is {state.value} cannot take the event {event.value}.")
        self.state = state
        self.event = event


_TABLE: Final[dict[ChildState, dict[ChildEvent, ChildState]]] = {
    ChildState.FORKING: {
        ChildEvent.FORKED: ChildState.STARTING,
        ChildEvent.READY: ChildState.READY,
        ChildEvent.DRAIN: ChildState.DRAINING,
        ChildEvent.STOP: ChildState.STOPPING,
    },
    ChildState.STARTING: {
        ChildEvent.READY: ChildState.READY,
        ChildEvent.DRAIN: ChildState.DRAINING,
        ChildEvent.STOP: ChildState.STOPPING,
    },
    ChildState.READY: {
        ChildEvent.FORKED: ChildState.READY,
        ChildEvent.DRAIN: ChildState.DRAINING,
        ChildEvent.STOP: ChildState.STOPPING,
    },
    ChildState.DRAINING: {
        ChildEvent.FORKED: ChildState.DRAINING,
        ChildEvent.READY: ChildState.DRAINING,
        ChildEvent.STOP: ChildState.STOPPING,
    },
    ChildState.STOPPING: {
        ChildEvent.FORKED: ChildState.STOPPING,
        ChildEvent.READY: ChildState.STOPPING,
    },
    ChildState.LOST: {
        ChildEvent.FORKED: ChildState.LOST,
        ChildEvent.EXITED: ChildState.EXITED,
    },
    ChildState.EXITED: {},
}
for _state in (s for s in ChildState if s not in (ChildState.LOST, ChildState.EXITED)):
    _TABLE[_state] |= {ChildEvent.EOF: ChildState.LOST, ChildEvent.EXITED: ChildState.EXITED}


def next_state(state: ChildState, event: ChildEvent) -> ChildState:
    """Return the state after ``event``. Raises IllegalTransition."""
    try:
        return _TABLE[state][event]
    except KeyError:
        raise IllegalTransition(state, event) from None
