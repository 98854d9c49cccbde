"""The database of the shop, which holds its workflows too: so a transaction can have both."""

from __future__ import annotations

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import sessionmaker

from examples.orders.models import Base, Product
from owsuper import OpenWorkflow

ow = OpenWorkflow()
engine = create_engine(
    "postgresql+psycopg://", creator=lambda: psycopg.connect(ow.database_url), pool_pre_ping=True
)
Session = sessionmaker(engine)

PRODUCTS = (
    {"sku": "tea", "price_cents": 899, "stock": 100},
    {"sku": "teapot", "price_cents": 3400, "stock": 3},
)


def create_tables() -> None:
    """Create the tables of the shop, and something to sell. A shop of yours has migrations."""
    Base.metadata.create_all(engine)
    with Session.begin() as session:
        session.execute(insert(Product).on_conflict_do_nothing(), PRODUCTS)
