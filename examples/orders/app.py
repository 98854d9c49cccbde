"""The web application: ``uvicorn examples.orders.app:app``."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import ValidationError
from sqlalchemy import orm, select
from sqlalchemy.exc import IntegrityError, OperationalError

from examples.orders import payments, provider
from examples.orders.database import Session, create_tables, engine, ow
from examples.orders.models import Order, OrderLine, Product
from examples.orders.schemas import Cart, OrderStatus, OrderView, Payment, PaymentEvent
from examples.orders.stock import OutOfStock
from examples.orders.workflows import fulfill
from owsuper import OwsuperError
from owsuper.fastapi import exception_handler, lifespan, workflow_router

_log = logging.getLogger(__name__)


@asynccontextmanager
async def connections(app: FastAPI) -> AsyncIterator[None]:
    """Hold the connections of owsuper and of SQLAlchemy open while the application runs."""
    async with lifespan(ow)(app):
        await run_in_threadpool(create_tables)
        yield
    engine.dispose()


def session() -> Iterator[orm.Session]:
    """A transaction for the endpoint."""
    with Session.begin() as session:
        yield session


# The transaction ends before the answer is sent.
Transaction = Annotated[orm.Session, Depends(session, scope="function")]

app = FastAPI(title="Orders", lifespan=connections)
app.add_exception_handler(OwsuperError, exception_handler)
# What becomes of an order: /runs/ID, /runs/ID/result, /runs/ID/events. Orders start the runs.
app.include_router(
    workflow_router(fulfill, start=False, public_errors=[OutOfStock]), prefix="/runs", tags=["runs"]
)
app.mount("/provider", provider.app)


@app.exception_handler(OperationalError)
async def answer_without_database(request: Request, error: OperationalError) -> Response:
    """Answer as owsuper does when the database is away: providers call the webhook again."""
    _log.error("the database is not available: %s", error)
    return JSONResponse({"detail": "Try again."}, status_code=503, headers={"Retry-After": "1"})


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("shop.html"))


@app.post("/orders", status_code=201)
def place_order(cart: Cart, session: Transaction) -> OrderView:
    """Store an order and start its run, both or neither."""
    try:
        with session.begin_nested():
            order = new_order(cart, session)
    except IntegrityError:  # the browser sends the cart again
        order = session.scalars(select(Order).filter_by(cart_id=cart.id)).one()
    else:
        order.run_id = fulfill.run(order.id, connection=session).id
    return OrderView.model_validate(order)


def new_order(cart: Cart, session: orm.Session) -> Order:
    wanted: dict[str, int] = {}
    for line in cart.lines:
        wanted[line.sku] = wanted.get(line.sku, 0) + line.count
    found = session.scalars(select(Product).where(Product.sku.in_(wanted)))
    prices = {product.sku: product.price_cents for product in found}
    if missing := wanted.keys() - prices.keys():
        raise HTTPException(422, f"There is no product {', '.join(sorted(missing))}.")
    order = Order(
        cart_id=cart.id,
        email=cart.email,
        total_cents=sum(prices[sku] * count for sku, count in wanted.items()),
        lines=[OrderLine(sku=sku, count=count) for sku, count in wanted.items()],
    )
    session.add(order)
    session.flush()
    return order


@app.get("/orders/{order_id}")
def read_order(order_id: int, session: Transaction) -> OrderView:
    order = session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, "There is no such order.")
    return OrderView.model_validate(order)


async def signed_event(
    request: Request, signature: Annotated[str, Header(alias="X-Signature")]
) -> PaymentEvent:
    """The event that the payment provider has sent."""
    body = await request.body()
    if not payments.is_signed(body, signature):
        raise HTTPException(403, "The signature is wrong.")
    try:
        return PaymentEvent.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


@app.post("/webhooks/payments", status_code=202)
def payment_event(
    event: Annotated[PaymentEvent, Depends(signed_event)], session: Transaction
) -> None:
    """Note the payment and tell the order's run, both or neither.

    An event that comes twice, before the run waits, or when its time is up does no harm.
    """
    order = session.get(Order, event.order_id, with_for_update=True)
    if order is None:
        raise HTTPException(404, "There is no such order.")
    order.paid = order.paid or event.succeeded
    if order.status is OrderStatus.CANCELED:
        if event.succeeded:
            _log.error("order %d was paid after its end: pay it back", order.id)
        return
    ow.send_signal(
        f"payment:{event.order_id}",
        Payment(order_id=event.order_id, succeeded=event.succeeded),
        idempotency_key=event.event_id,
        buffer=True,
        connection=session,
    )
