"""The life of a child as a table.

    FORKING ─ forked → STARTING ─ ready → READY ─ drain → DRAINING ─ stop → STOPPING
       └───────────────── ready ────────────┘
    any of them ─ eof → LOST ─ exited → EXITED

Two sockets speak about one child: its own pipe (ready, eof) and the template's (forked,
exited). Nothing orders the one against the other, so ``ready`` may come before ``forked`` and
``exited`` before ``eof``. LOST is the short while in which the pipe is closed and the wait
status, the evidence, is still on its way.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from owsuper.errors import OwsuperError


class State(StrEnum):
    FORKING = "forking"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    LOST = "lost"
    EXITED = "exited"


class Event(StrEnum):
    FORKED = "forked"
    READY = "ready"
    DRAIN = "drain"
    STOP = "stop"
    EOF = "eof"
    EXITED = "exited"


class IllegalTransition(OwsuperError):
    """A child was told, or said, what makes no sense in its state: a bug of the supervisor."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"A child that is {state.value} cannot see {event.value}.")
        self.state = state
        self.event = event


_TABLE: Final[dict[State, dict[Event, State]]] = {
    State.FORKING: {
        Event.FORKED: State.STARTING,
        Event.READY: State.READY,
        Event.DRAIN: State.DRAINING,
        Event.STOP: State.STOPPING,
    },
    State.STARTING: {
        Event.READY: State.READY,
        Event.DRAIN: State.DRAINING,
        Event.STOP: State.STOPPING,
    },
    State.READY: {
        Event.FORKED: State.READY,
        Event.DRAIN: State.DRAINING,
        Event.STOP: State.STOPPING,
    },
    State.DRAINING: {
        Event.FORKED: State.DRAINING,
        Event.READY: State.DRAINING,
        Event.STOP: State.STOPPING,
    },
    State.STOPPING: {
        Event.FORKED: State.STOPPING,
        Event.READY: State.STOPPING,
    },
    State.LOST: {
        Event.FORKED: State.LOST,
        Event.EXITED: State.EXITED,
    },
    State.EXITED: {},
}
for _state in (s for s in State if s not in (State.LOST, State.EXITED)):
    _TABLE[_state] |= {Event.EOF: State.LOST, Event.EXITED: State.EXITED}


def after(state: State, event: Event) -> State:
    """The state that follows. Raises IllegalTransition."""
    try:
        return _TABLE[state][event]
    except KeyError:
        raise IllegalTransition(state, event) from None
