"""What the database knows, as a page that needs no worker."""

from __future__ import annotations

from owsuper.db.queue_state import QueueDepth
from owsuper.metrics import queue
from tests.metrics.pages import Page


def page(*depths: QueueDepth) -> Page:
    states = ["serving", "serving", "missing"]
    return Page(queue.page(depths, {"pending": 7, "running": 2}, states).decode())


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
    measured = queue.measure([QueueDepth("order", 5, 61.5)], served=["mail", "order"])
    assert {labels: value for metric, labels, value in measured if metric is queue.QUEUE_DUE} == {
        ("mail",): 0,
        ("order",): 5,
    }
