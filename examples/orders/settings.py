"""Where the shop and its payment provider are. Read from the environment."""

from __future__ import annotations

import os


def shop_url() -> str:
    """The address of the shop, as the payment provider calls it."""
    return os.environ.get("SHOP_URL", "http://127.0.0.1:8000")


def payments_url() -> str:
    """The address of the payment provider. The shop brings a stand-in for one."""
    return os.environ.get("PAYMENTS_URL", f"{shop_url()}/provider")


def payments_secret() -> bytes:
    """What the shop and the provider sign the events of payments with."""
    return os.environ.get("PAYMENTS_SECRET", "only for development").encode()
