"""The shop on a real database, with a real server and a real worker."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import httpx2
import pytest

from examples.orders.database import create_tables, engine, ow
from examples.orders.models import Base
from examples.orders.serving import address, serving
from owsuper import Worker

StartWorker = Callable[[], Worker]


@pytest.fixture
def shop(ow_db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx2.Client]:
    """A client of the shop, whose tables are as new."""
    Base.metadata.drop_all(engine)
    create_tables()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("SHOP_URL", address(listener))
        with serving(listener), httpx2.Client(base_url=address(listener), timeout=60) as http:
            yield http
    engine.dispose()


@pytest.fixture
def start_worker(shop: httpx2.Client, ow_worker: Callable[..., Worker]) -> StartWorker:
    """Start a worker, which finds the shop's address in its environment."""
    return lambda: ow_worker(ow, log_level="warning")
