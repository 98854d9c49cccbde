"""What owsuper runs: ``owsuper --module examples.orders.workflows``."""

from __future__ import annotations

import logging
from functools import partial

from examples.orders import stock
from examples.orders.database import Session, ow
from examples.orders.payments import Payments, payments
from examples.orders.schemas import OrderStatus, Parcel, Payment, Receipt
from owsuper import RetryPolicy, Step, StepFailed

# A provider that is away is no reason to lose an order.
PATIENT = RetryPolicy(initial_interval="1s", maximum_interval="5m", maximum_attempts=20)

_log = logging.getLogger(__name__)


@ow.workflow
def fulfill(step: Step, order_id: int) -> Receipt:
    """Reserve the goods, wait for the payment, and ship; or cancel the order."""
    try:
        cents = step.transaction("reserve stock", stock.reserve, order_id, session=Session)
    except StepFailed:
        cancel = partial(stock.cancel, reserved=False)
        step.transaction("cancel order", cancel, order_id, session=Session)
        raise
    url = step.run("request payment", request_payment, order_id, cents, step.run_id, retry=PATIENT)
    step.transaction("await payment", stock.await_payment, order_id, url, session=Session)

    paid = step.wait_for_signal(
        f"payment:{order_id}", type=Payment, timeout="3d", on_invalid="skip"
    )
    if paid is None or not paid.data.succeeded:
        cancel = partial(stock.cancel, reserved=True)
        if step.transaction("release stock", cancel, order_id, session=Session):
            return Receipt(order_id=order_id, status=OrderStatus.CANCELED)

    parcel = step.transaction("mark paid", stock.mark_paid, order_id, session=Session)
    tracking_number = step.run_workflow(ship, parcel)
    step.transaction("mark shipped", stock.mark_shipped, order_id, tracking_number, session=Session)
    return Receipt(order_id=order_id, status=OrderStatus.SHIPPED, tracking_number=tracking_number)


@ow.workflow
def ship(step: Step, parcel: Parcel) -> str:
    """Send a parcel; return its tracking number."""
    tracking_number = step.run("buy label", buy_label, parcel)
    step.sleep("until it is picked up", "1s")
    step.run("tell customer", tell_customer, parcel, tracking_number)
    return tracking_number


@payments.inject
def request_payment(payments: Payments, order_id: int, cents: int, key: str) -> str:
    # With a key, because a step is executed again if its process dies before the result is stored.
    return payments.request(order_id, cents, key)


def buy_label(parcel: Parcel) -> str:
    return f"TRACK-{parcel.order_id:06}"


def tell_customer(parcel: Parcel, tracking_number: str) -> None:
    _log.info("to %s: your parcel is on its way: %s", parcel.email, tracking_number)
