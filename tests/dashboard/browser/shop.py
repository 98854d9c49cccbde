"""What the worker behind the dashboard serves: a workflow for each thing that a page can show."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from owsuper import Concurrency, OpenWorkflow, RetryPolicy, Step, current

ow = OpenWorkflow()


@dataclass
class Order:
    item: str
    quantity: int = 1
    gift: bool = False
    note: str | None = None


@dataclass
class Decision:
    approved: bool
    by: str


log = logging.getLogger("shop")
soon = RetryPolicy(initial_interval="1ms", maximum_attempts=3)


@ow.workflow("order", version="2")
def order(step: Step, input: Order) -> str:
    step.run("reserve", reserve, input)
    step.run("charge", charge, retry=soon)
    step.sleep("cool-off", "1ms")
    return step.run_workflow(invoice, input.item, name="send-invoice")


def reserve(input: Order) -> dict[str, object]:
    return {"item": input.item, "shelf": 4}


def charge() -> str:
    now = current()
    if now is not None and now.attempt == 1:
        raise ConnectionError("the bank does not answer")
    return "paid"


@ow.workflow("invoice")
def invoice(step: Step, input: str) -> str:
    return step.run("print", lambda: f"invoice for {input}")


@ow.workflow("bake")
def bake(step: Step, input: str) -> str:
    """Runs until the file ``input`` exists."""
    step.run("knead", lambda: "dough")

    def oven() -> str:
        while not Path(input).exists():
            time.sleep(0.02)
        return "bread"

    return step.run("oven", oven)


@ow.workflow("subscription")
def subscription(step: Step, input: None) -> None:
    step.run("welcome", lambda: "hello")
    step.sleep("one-month", "30d")


@ow.workflow("deliver", limits=[Concurrency(1, key="tenant", name="vans")])
def deliver(step: Step, input: dict[str, str]) -> None:
    step.sleep("road", "30d")


@ow.workflow("approval")
def approval(step: Step, input: str) -> bool:
    decision = step.wait_for_signal(f"approve-{input}", type=Decision, timeout="7d")
    return decision is not None and decision.data.approved


@ow.workflow("refund")
def refund(step: Step, input: dict[str, int]) -> None:
    def look_up() -> None:
        amount = input["amount"]
        raise ValueError(f"no payment of {amount} was found")

    step.run("look-up", look_up, retry=RetryPolicy(maximum_attempts=1))


@ow.workflow("resize-image")
def resize_image(step: Step, input: str) -> None:
    def decode() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)  # another thread may be the one that gets the signal

    step.run("decode", decode)


@ow.workflow("count-rows")
def count_rows(step: Step, input: str) -> int:
    """Counts until the file ``input`` exists, and says so."""

    def count() -> int:
        step.set_progress(3, 10, "the third <b>row</b>")
        log.warning("row 3 has no <i>name</i>")
        while not Path(input).exists():
            time.sleep(0.02)
        step.set_progress(10, 10, "all rows")
        return 10

    return step.run("count", count)


@ow.workflow("family")
def family(step: Step, input: list[str]) -> None:
    """A parent whose children wait for signals."""
    for name in input:
        step.submit_workflow(approval, name, name=f"ask {name}")
    step.wait_for_signal("family-is-complete")
