"""What the database knows, as a page that needs no worker."""

from __future__ import annotations

from collections.abc import Sequence

from owsuper.db.queue_state import LimitWaits, QueueDepth, QueueState
from owsuper.metrics import queue
from tests.metrics.pages import Page


def page(*depths: QueueDepth, limits: Sequence[LimitWaits] = ()) -> Page:
    states = ["serving", "serving", "missing"]
    return Page(
        queue.page(QueueState(depths, limits), {"pending": 7, "running": 2}, states).decode()
    )


def test_the_page_has_queues_runs_and_workers() -> None:
    found = page(QueueDepth("order", 5, 61.5), QueueDepth("mail", 0, 0.0))
    assert found.values("owsuper_queue_due_runs", "workflow") == {"order": 5, "mail": 0}
    assert found.values("owsuper_queue_oldest_due_seconds", "workflow")["order"] == 61.5
    assert found.values("owsuper_unfinished_runs", "status") == {"pending": 7, "running": 2}
    assert found.values("owsuper_workers", "state") == {"serving": 2, "missing": 1}


def test_workflows_beyond_two_hundred_are_added_up() -> None:
    found = page(*(QueueDepth(f"w{number}", number, number) for number in range(1, 301)))
    due = found.values("owsuper_queue_due_runs", "workflow")
    assert len(due) == 201
    assert sum(due.values()) == sum(range(1, 301))
    assert due["other"] == sum(range(1, 101))
    assert found.values("owsuper_queue_oldest_due_seconds", "workflow")["other"] == 100


def test_names_that_begin_alike_are_not_on_the_page_twice() -> None:
    found = page(*(QueueDepth("x" * 200 + str(number), 1, 1.0) for number in range(3)))
    assert found.values("owsuper_queue_due_runs", "workflow") == {"x" * 120: 3}
    assert len([each for each in found.samples if each.name == "owsuper_queue_due_runs"]) == 1


def test_a_workflow_without_runs_that_is_served_has_an_empty_queue() -> None:
    measured = queue.measure(QueueState([QueueDepth("order", 5, 61.5)]), served=["mail", "order"])
    assert {labels: value for metric, labels, value in measured if metric is queue.QUEUE_DUE} == {
        ("mail",): 0,
        ("order",): 5,
    }


def test_what_waits_is_told_for_each_limit_and_the_smallest_beyond_two_hundred_are_added_up() -> (
    None
):
    waits = [LimitWaits("gpu", 5, 61.5), LimitWaits("mail", 0, 0.0)]
    found = page(limits=waits)
    assert found.values("owsuper_limit_waiting_runs", "limit") == {"gpu": 5, "mail": 0}
    assert found.values("owsuper_limit_oldest_wait_seconds", "limit") == {"gpu": 61.5, "mail": 0}
    found = page(limits=[LimitWaits(f"limit {n}", n, n) for n in range(1, 301)])
    waiting = found.values("owsuper_limit_waiting_runs", "limit")
    assert (len(waiting), waiting["other"]) == (201, sum(range(1, 101)))


def test_without_limits_nothing_is_said_of_them() -> None:
    assert "owsuper_limit_waiting_runs{" not in page(QueueDepth("order", 5, 61.5)).text
