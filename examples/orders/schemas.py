"""The JSON of the shop: what browsers send and get, and what workflows take and return."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class OrderStatus(StrEnum):
    """What has happened to an order so far."""

    PLACED = "placed"
    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    SHIPPED = "shipped"
    CANCELED = "canceled"


class Line(BaseModel):
    """How many of a product to buy."""

    sku: str
    count: int = Field(gt=0, le=100)


class Cart(BaseModel):
    """What a customer sends to place an order. An ``id`` makes one order, if it is sent twice."""

    id: UUID
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    lines: list[Line] = Field(min_length=1, max_length=50)


class OrderView(BaseModel):
    """An order, as its customer sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    status: OrderStatus
    total_cents: int
    payment_url: str | None
    tracking_number: str | None
    run_id: str | None


class Payment(BaseModel):
    """What the payment provider says of a payment: the data of a signal."""

    order_id: int
    succeeded: bool


class PaymentEvent(Payment):
    """The body of the provider's webhook. The provider may send an event more than once."""

    event_id: str


class Parcel(BaseModel):
    """What to send, and to whom: the input of the workflow ``ship``."""

    order_id: int
    email: str
    lines: list[Line]


class Receipt(BaseModel):
    """How an order has ended: the result of the workflow ``fulfill``."""

    order_id: int
    status: OrderStatus
    tracking_number: str | None = None
