"""A stand-in for a payment provider. It keeps its payments in memory.

Like real ones, it knows a payment by the key of the request, and calls the webhook more than once.
"""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

import httpx2
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from examples.orders import settings
from examples.orders.payments import sign
from examples.orders.schemas import PaymentEvent

CALLS = 2  # of the webhook for each payment

app = FastAPI(title="A stand-in for a payment provider")


class RequestedPayment(BaseModel):
    """A payment that a shop has requested."""

    order_id: int
    cents: int
    webhook: str


_payments: dict[str, RequestedPayment] = {}


@app.post("/payments")
def request_payment(
    payment: RequestedPayment, idempotency_key: Annotated[str, Header()]
) -> dict[str, str]:
    _payments.setdefault(idempotency_key, payment)
    return {"url": f"{settings.payments_url()}/payments/{idempotency_key}"}


@app.post("/payments/{key}")
async def pay(key: str, succeeded: bool = True) -> dict[str, list[int]]:
    """Pay, as the customer does. The answer has the statuses of the calls of the webhook."""
    payment = _payments.get(key)
    if payment is None:
        raise HTTPException(404, "There is no such payment.")
    event = PaymentEvent(event_id=str(uuid4()), order_id=payment.order_id, succeeded=succeeded)
    body = event.model_dump_json().encode()
    async with httpx2.AsyncClient() as http:
        answers = [
            await http.post(payment.webhook, content=body, headers={"X-Signature": sign(body)})
            for _ in range(CALLS)
        ]
    return {"webhook": [answer.status_code for answer in answers]}
