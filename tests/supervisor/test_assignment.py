"""Which child gets a run, while children have different code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from owsuper.supervisor.assignment import assign
from owsuper.supervisor.child import Child
from owsuper.supervisor.child_state import ChildState
from tests.supervisor.conftest import run_that

Make = Callable[..., Child]
OBEY = ("obey", None)


@pytest.fixture
def make() -> Iterator[Make]:
    children: list[Child] = []

    def make(*workflows: tuple[str, str | None], outdated: bool = False, slots: int = 1) -> Child:
        child = Child(
            len(children),
            slots,
            on_ready=lambda _: None,
            on_finished=lambda *_: None,
            on_lost=lambda _: None,
            on_stacks=lambda *_: None,
            on_overdue=lambda *_: None,
        )
        child.state = ChildState.READY
        child.workflows = frozenset(workflows)
        child.outdated = outdated
        children.append(child)
        return child

    yield make
    for child in children:
        child.close()


def test_a_run_goes_to_a_child_that_knows_its_workflow(make: Make) -> None:
    old, new = make(("other", None), outdated=True, slots=9), make(OBEY)
    assert assign([old, new], run_that("hold"), mixed=True)
    assert not assign([old, new], run_that("hold"), mixed=True)
    assert (len(old.held), len(new.held)) == (0, 1)


@pytest.mark.parametrize("suspect", [False, True])
def test_new_code_is_preferred_and_old_code_helps_out(make: Make, suspect: bool) -> None:
    old, new = make(OBEY, outdated=True, slots=9), make(OBEY)
    assert assign([old, new], run_that("hold", suspect=suspect), mixed=True)
    assert (len(old.held), len(new.held)) == (0, 1)
    assert assign([old, new], run_that("hold", suspect=suspect), mixed=True)
    assert (len(old.held), len(new.held)) == (1, 1)


def test_a_suspect_is_not_given_to_a_child_that_does_not_know_it(make: Make) -> None:
    old, new = make(("other", None), outdated=True), make(OBEY, slots=2)
    assert assign([old, new], run_that("hold"), mixed=True)
    assert not assign([old, new], run_that("hold", suspect=True), mixed=True)
    assert new.reserved
    assert not old.reserved
