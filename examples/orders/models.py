"""The tables of the shop."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from examples.orders.schemas import OrderStatus


class Base(DeclarativeBase):
    """The tables that ``create_tables`` creates."""


class Product(Base):
    """What is sold. ``stock`` is how many are neither sold nor reserved."""

    __tablename__ = "products"
    __table_args__ = (CheckConstraint("stock >= 0"),)

    sku: Mapped[str] = mapped_column(primary_key=True)
    price_cents: Mapped[int]
    stock: Mapped[int]


class Order(Base):
    """An order, and the run that fulfills it. ``paid``: as far as the provider has said."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    cart_id: Mapped[UUID] = mapped_column(unique=True)
    email: Mapped[str]
    status: Mapped[OrderStatus] = mapped_column(default=OrderStatus.PLACED)
    total_cents: Mapped[int]
    paid: Mapped[bool] = mapped_column(default=False)
    payment_url: Mapped[str | None]
    tracking_number: Mapped[str | None]
    run_id: Mapped[str | None]
    lines: Mapped[list[OrderLine]] = relationship()


class OrderLine(Base):
    """How many of a product an order is for."""

    __tablename__ = "order_lines"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"), primary_key=True)
    count: Mapped[int]
