"""The payment provider: a client that is opened once in each process, and its signed events."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

import httpx2

from examples.orders import settings
from examples.orders.database import ow


class Payments:
    """Requests payments from the provider."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def request(self, order_id: int, cents: int, key: str) -> str:
        """Request a payment; return the address at which the customer pays.

        The provider knows the payment by its ``key``, if it is requested twice.
        """
        answer = self._http.post(
            "/payments",
            json={
                "order_id": order_id,
                "cents": cents,
                "webhook": f"{settings.shop_url()}/webhooks/payments",
            },
            headers={"Idempotency-Key": key},
        )
        answer.raise_for_status()
        url: str = answer.json()["url"]
        return url


@ow.resource
def payments() -> Iterator[Payments]:
    """The client of this process."""
    with httpx2.Client(base_url=settings.payments_url(), timeout=10) as http:
        yield Payments(http)


def sign(body: bytes) -> str:
    """Return the signature of an event, which proves that the provider has sent it."""
    return hmac.new(settings.payments_secret(), body, "sha256").hexdigest()


def is_signed(body: bytes, signature: str) -> bool:
    """Whether ``signature`` is that of ``body``."""
    return hmac.compare_digest(sign(body).encode(), signature.encode())
