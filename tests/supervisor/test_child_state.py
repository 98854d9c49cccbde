"""The life of a child: what may follow what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.supervisor.child_state import Event, IllegalTransition, State, after


def live(*events: Event) -> State:
    state = State.FORKING
    for event in events:
        state = after(state, event)
    return state


def test_a_whole_life() -> None:
    life = [Event.FORKED, Event.READY, Event.DRAIN, Event.STOP, Event.EOF, Event.EXITED]
    assert live(*life) is State.EXITED


def test_ready_may_come_before_the_template_tells_of_the_fork() -> None:
    assert live(Event.READY, Event.FORKED) is State.READY


def test_the_wait_status_may_come_before_the_end_of_the_pipe() -> None:
    assert live(Event.FORKED, Event.READY, Event.EXITED) is State.EXITED


def test_a_child_that_died_at_once_may_still_be_told_of() -> None:
    assert live(Event.EOF, Event.FORKED, Event.EXITED) is State.EXITED


def test_a_child_that_boots_while_draining_stays_draining() -> None:
    assert live(Event.DRAIN, Event.FORKED, Event.READY) is State.DRAINING


@pytest.mark.parametrize("state", [each for each in State if each is not State.EXITED])
def test_death_is_possible_at_any_time(state: State) -> None:
    assert after(state, Event.EXITED) is State.EXITED


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.READY, Event.READY),
        (State.STARTING, Event.FORKED),
        (State.LOST, Event.READY),
        (State.LOST, Event.DRAIN),
        (State.STOPPING, Event.DRAIN),
        *((State.EXITED, event) for event in Event),
    ],
)
def test_what_makes_no_sense_is_one_named_error(state: State, event: Event) -> None:
    with pytest.raises(IllegalTransition) as caught:
        after(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert state.value in str(caught.value)


@given(st.lists(st.sampled_from(list(Event)), max_size=12))
def test_nothing_returns_from_death_and_nothing_gets_younger(events: list[Event]) -> None:
    order = list(State)
    state = State.FORKING
    for event in events:
        try:
            following = after(state, event)
        except IllegalTransition:
            continue
        assert order.index(following) >= order.index(state)
        state = following
