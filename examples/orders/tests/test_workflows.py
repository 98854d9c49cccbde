"""The workflows, in the process of the test: no worker, no database, no waiting for three days."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from examples.orders.database import ow
from examples.orders.payments import Payments, payments
from examples.orders.schemas import Line, OrderStatus, Parcel, Payment
from examples.orders.stock import OutOfStock
from examples.orders.workflows import fulfill, ship
from owsuper import RunStatus
from owsuper.testing import fail, run_in_process, survives_crashes

PARCEL = Parcel(order_id=7, email="ada@example.com", lines=[Line(sku="tea", count=2)])
PAID = ("payment:7", Payment(order_id=7, succeeded=True))
REFUSED = ("payment:7", Payment(order_id=7, succeeded=False))

STEPS: dict[str, Any] = {  # those that write to the database
    "reserve stock": lambda order_id: 1798,
    "await payment": lambda order_id, url: None,
    "mark paid": lambda order_id: PARCEL,
    "mark shipped": lambda order_id, tracking_number: None,
}


class FakePayments(Payments):
    """A client without a provider."""

    def __init__(self) -> None:
        super().__init__(httpx2.Client())
        self.requested: list[tuple[int, int]] = []

    def request(self, order_id: int, cents: int, key: str) -> str:
        self.requested.append((order_id, cents))
        return "https://payments.example/7"


@pytest.fixture(autouse=True)
def provider() -> Any:
    fake = FakePayments()
    with ow.override(payments, fake):
        yield fake


def test_an_order_that_is_paid_is_shipped(provider: FakePayments) -> None:
    run = run_in_process(fulfill, 7, steps=STEPS, signals=[PAID])
    assert run.result.status is OrderStatus.SHIPPED
    assert run.result.tracking_number == "TRACK-000007"
    assert provider.requested == [(7, 1798)]


def test_an_order_survives_a_crash_at_any_moment() -> None:
    survives_crashes(fulfill, 7, steps=STEPS, signals=[PAID])


@pytest.mark.parametrize("signals", [[], [REFUSED]], ids=["for three days", "for good"])
def test_an_order_that_is_not_paid_gives_its_goods_back(signals: list[Any]) -> None:
    released: list[int] = []

    def release(order_id: int) -> bool:
        released.append(order_id)
        return True

    steps = {**STEPS, "release stock": release}
    del steps["mark paid"], steps["mark shipped"]
    run = run_in_process(fulfill, 7, steps=steps, signals=signals)
    assert run.result.status is OrderStatus.CANCELED
    assert released == [7]


def test_an_order_that_is_paid_when_its_time_is_up_is_shipped() -> None:
    steps = {**STEPS, "release stock": lambda order_id: False}
    run = run_in_process(fulfill, 7, steps=steps)
    assert run.result.status is OrderStatus.SHIPPED


def test_an_order_without_goods_fails_and_says_why() -> None:
    def reserve(order_id: int) -> int:
        raise OutOfStock("only 1 of tea are left")

    steps = {"reserve stock": reserve, "cancel order": lambda order_id: True}
    run = run_in_process(fulfill, 7, steps=steps)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert (run.error.name, run.error.message) == ("OutOfStock", "only 1 of tea are left")


def test_a_provider_that_is_away_is_asked_again() -> None:
    faults = [fail("request payment", httpx2.ConnectError("away"), times=5)]
    run = run_in_process(fulfill, 7, steps=STEPS, signals=[PAID], faults=faults)
    assert run.steps["request payment"].attempts == 6
    assert run.result.status is OrderStatus.SHIPPED


def test_a_parcel_waits_until_it_is_picked_up() -> None:
    run = run_in_process(ship, PARCEL)
    assert run.result == "TRACK-000007"
    assert run.slept.total_seconds() == 1
