"""What the steps of the workflows do with the tables of the shop, each in one transaction."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from examples.orders.models import Order, Product
from examples.orders.schemas import Line, OrderStatus, Parcel
from owsuper import NonRetryableError


class OutOfStock(NonRetryableError):
    """There is not enough of a product. Trying again would not help."""


def reserve(session: Session, order_id: int) -> int:
    """Take the goods of an order from the stock; return what they cost, in cents."""
    order = session.get_one(Order, order_id)
    for line in sorted(order.lines, key=lambda line: line.sku):  # in one order, else: deadlocks
        product = _lock(session, line.sku)
        if product.stock < line.count:
            raise OutOfStock(f"only {product.stock} of {line.sku} are left")
        product.stock -= line.count
    return order.total_cents


def cancel(session: Session, order_id: int, *, reserved: bool) -> bool:
    """Cancel an order, and give goods that were reserved back to the stock.

    Return False, and do nothing, if the order was paid at the last moment: the webhook locks the
    row as well, so either it finds the order canceled, or this finds it paid.
    """
    order = session.get_one(Order, order_id, with_for_update=True)
    if order.paid:
        return False
    order.status = OrderStatus.CANCELED
    for line in sorted(order.lines if reserved else (), key=lambda line: line.sku):
        _lock(session, line.sku).stock += line.count
    return True


def await_payment(session: Session, order_id: int, url: str) -> None:
    """Tell the customer where to pay."""
    order = session.get_one(Order, order_id)
    order.status, order.payment_url = OrderStatus.AWAITING_PAYMENT, url


def mark_paid(session: Session, order_id: int) -> Parcel:
    """Note that an order is paid; return what to send."""
    order = session.get_one(Order, order_id)
    order.status = OrderStatus.PAID
    lines = [Line(sku=line.sku, count=line.count) for line in order.lines]
    return Parcel(order_id=order_id, email=order.email, lines=lines)


def mark_shipped(session: Session, order_id: int, tracking_number: str) -> None:
    """Note that an order is on its way."""
    order = session.get_one(Order, order_id)
    order.status, order.tracking_number = OrderStatus.SHIPPED, tracking_number


def _lock(session: Session, sku: str) -> Product:
    return session.scalars(select(Product).filter_by(sku=sku).with_for_update()).one()
