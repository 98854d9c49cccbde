"""The life of a child process: which state follows which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.supervisor.child_state import ChildEvent, ChildState, IllegalTransition, next_state


def state_after(*events: ChildEvent) -> ChildState:
    state = ChildState.FORKING
    for event in events:
        state = next_state(state, event)
    return state


def test_a_whole_life() -> None:
    life = [
        ChildEvent.FORKED,
        ChildEvent.READY,
        ChildEvent.DRAIN,
        ChildEvent.STOP,
        ChildEvent.EOF,
        ChildEvent.EXITED,
    ]
    assert state_after(*life) is ChildState.EXITED


def test_ready_may_come_before_the_report_of_the_fork() -> None:
    assert state_after(ChildEvent.READY, ChildEvent.FORKED) is ChildState.READY


def test_the_wait_status_may_come_before_the_end_of_the_pipe() -> None:
    assert state_after(ChildEvent.FORKED, ChildEvent.READY, ChildEvent.EXITED) is ChildState.EXITED


def test_the_report_of_the_fork_may_come_after_the_end_of_the_pipe() -> None:
    assert state_after(ChildEvent.EOF, ChildEvent.FORKED, ChildEvent.EXITED) is ChildState.EXITED


def test_a_child_that_starts_while_draining_stays_draining() -> None:
    assert state_after(ChildEvent.DRAIN, ChildEvent.FORKED, ChildEvent.READY) is ChildState.DRAINING


@pytest.mark.parametrize("state", [each for each in ChildState if each is not ChildState.EXITED])
def test_death_is_possible_at_any_time(state: ChildState) -> None:
    assert next_state(state, ChildEvent.EXITED) is ChildState.EXITED


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (ChildState.READY, ChildEvent.READY),
        (ChildState.STARTING, ChildEvent.FORKED),
        (ChildState.LOST, ChildEvent.READY),
        (ChildState.LOST, ChildEvent.DRAIN),
        (ChildState.STOPPING, ChildEvent.DRAIN),
        *((ChildState.EXITED, event) for event in ChildEvent),
    ],
)
def test_an_impossible_event_raises_an_error_that_names_it(
    state: ChildState, event: ChildEvent
) -> None:
    with pytest.raises(IllegalTransition) as caught:
        next_state(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert state.value in str(caught.value)


@given(st.lists(st.sampled_from(list(ChildEvent)), max_size=12))
def test_no_event_leads_back_to_an_earlier_state(events: list[ChildEvent]) -> None:
    order = list(ChildState)
    state = ChildState.FORKING
    for event in events:
        try:
            following = next_state(state, event)
        except IllegalTransition:
            continue
        assert order.index(following) >= order.index(state)
        state = following
