"""The shop as a whole: browsers, the payment provider, the database and a worker."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.orm import sessionmaker

from examples.orders import app as module
from examples.orders.database import Session, engine, ow
from examples.orders.models import Order, Product
from examples.orders.payments import sign
from examples.orders.schemas import OrderStatus, PaymentEvent
from examples.orders.stock import cancel
from examples.orders.tests.conftest import StartWorker


def cart(sku: str = "tea", count: int = 2) -> dict[str, Any]:
    lines = [{"sku": sku, "count": count}]
    return {"id": str(uuid4()), "email": "ada@example.com", "lines": lines}


def stock(sku: str = "tea") -> int:
    with Session() as session:
        return session.get_one(Product, sku).stock


def place(shop: httpx2.Client, **options: Any) -> dict[str, Any]:
    answer = shop.post("/orders", json=cart(**options))
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


def wait_for(shop: httpx2.Client, order_id: int, *statuses: str) -> dict[str, Any]:
    give_up = time.monotonic() + 60
    while True:
        order: dict[str, Any] = shop.get(f"/orders/{order_id}").json()
        if order["status"] in statuses:
            return order
        assert time.monotonic() < give_up, order
        time.sleep(0.02)


def result(shop: httpx2.Client, order: dict[str, Any]) -> dict[str, Any]:
    """What became of the order's run, by long poll."""
    give_up = time.monotonic() + 60
    while (answer := shop.get(f"/runs/{order['run_id']}/result")).status_code == 202:
        assert time.monotonic() < give_up, answer.json()
    run: dict[str, Any] = answer.json()
    return run


def call_webhook(shop: httpx2.Client, body: bytes, signature: str | None = None) -> int:
    headers = {"X-Signature": sign(body) if signature is None else signature}
    return shop.post("/webhooks/payments", content=body, headers=headers).status_code


def pay(shop: httpx2.Client, order_id: int) -> int:
    event = PaymentEvent(event_id="1", order_id=order_id, succeeded=True)
    return call_webhook(shop, event.model_dump_json().encode())


def give_up(order_id: int) -> bool:
    """Cancel an order whose time for the payment is over."""
    with Session.begin() as session:
        return cancel(session, order_id, reserved=False)


def wait_until_blocked(count: int) -> None:
    """Wait until so many sessions of this database wait for a lock."""
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        while conn.scalar(blocked) != count:
            time.sleep(0.01)


def test_an_order_is_placed_paid_and_shipped(
    shop: httpx2.Client, start_worker: StartWorker
) -> None:
    start_worker()
    order = place(shop)
    assert (order["status"], order["total_cents"]) == ("placed", 1798)
    order = wait_for(shop, order["id"], "awaiting_payment")
    assert stock() == 98
    assert shop.post(order["payment_url"]).json() == {"webhook": [202, 202]}
    run = result(shop, order)
    assert run["status"] == "completed"
    assert run["result"]["status"] == "shipped"
    order = wait_for(shop, order["id"], "shipped")
    assert order["tracking_number"] == run["result"]["tracking_number"]
    assert stock() == 98


def test_a_worker_that_is_killed_before_the_payment_is_replaced(
    shop: httpx2.Client, start_worker: StartWorker
) -> None:
    worker = start_worker()
    order = wait_for(shop, place(shop)["id"], "awaiting_payment")
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.stop()
    assert shop.post(order["payment_url"]).json() == {"webhook": [202, 202]}
    start_worker()
    assert result(shop, order)["result"]["status"] == "shipped"
    assert stock() == 98


def test_a_payment_that_comes_before_the_run_waits_is_kept(
    shop: httpx2.Client, start_worker: StartWorker
) -> None:
    order = place(shop)
    event = PaymentEvent(event_id="1", order_id=order["id"], succeeded=True)
    for _ in range(3):
        assert call_webhook(shop, event.model_dump_json().encode()) == 202
    start_worker()
    assert result(shop, order)["result"]["status"] == "shipped"


def test_an_order_whose_payment_is_being_noted_is_not_canceled(shop: httpx2.Client) -> None:
    order_id = place(shop)["id"]
    with ThreadPoolExecutor() as pool:
        with Session.begin() as session:
            session.get_one(Order, order_id, with_for_update=True)
            payment = pool.submit(pay, shop, order_id)
            wait_until_blocked(1)
            end_of_time = pool.submit(give_up, order_id)
            wait_until_blocked(2)
        assert (payment.result(), end_of_time.result()) == (202, False)
    with Session() as session:
        order = session.get_one(Order, order_id)
        assert (order.status, order.paid) == (OrderStatus.PLACED, True)


def test_a_payment_that_finds_its_order_canceled_is_to_be_paid_back(
    shop: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = place(shop)["id"]
    with ThreadPoolExecutor() as pool:
        with Session.begin() as session:
            session.get_one(Order, order_id, with_for_update=True)
            end_of_time = pool.submit(give_up, order_id)
            wait_until_blocked(1)
            payment = pool.submit(pay, shop, order_id)
            wait_until_blocked(2)
        assert (end_of_time.result(), payment.result()) == (True, 202)
    with Session() as session:
        order = session.get_one(Order, order_id)
        assert (order.status, order.paid) == (OrderStatus.CANCELED, True)
    assert f"order {order_id} was paid after its end: pay it back" in caplog.text


def test_a_refused_payment_gives_the_goods_back(
    shop: httpx2.Client, start_worker: StartWorker
) -> None:
    start_worker()
    order = wait_for(shop, place(shop)["id"], "awaiting_payment")
    shop.post(order["payment_url"], params={"succeeded": "false"})
    assert result(shop, order)["result"]["status"] == "canceled"
    assert stock() == 100


def test_the_last_goods_are_sold_once(shop: httpx2.Client, start_worker: StartWorker) -> None:
    start_worker()
    orders = [place(shop, sku="teapot", count=2) for _ in range(2)]
    ends = [wait_for(shop, order["id"], "awaiting_payment", "canceled") for order in orders]
    assert {order["status"] for order in ends} == {"awaiting_payment", "canceled"}
    (canceled,) = (order for order in ends if order["status"] == "canceled")
    run = result(shop, canceled)
    assert (run["status"], run["error"]["name"]) == ("failed", "OutOfStock")
    assert run["error"]["message"] == "only 1 of teapot are left"
    assert stock("teapot") == 1


def test_a_cart_that_is_sent_twice_is_one_order(shop: httpx2.Client) -> None:
    body = cart()
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: shop.post("/orders", json=body), range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert len(ow.list_runs().items) == 1


def test_an_order_and_its_run_are_stored_together_or_not_at_all(
    shop: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        @staticmethod
        def model_validate(order: Order) -> None:
            raise RuntimeError("after the run was started, and before the commit")

    monkeypatch.setattr(module, "OrderView", Broken)
    assert shop.post("/orders", json=cart()).status_code == 500
    with Session() as session:
        assert session.scalar(select(func.count()).select_from(Order)) == 0
    assert not ow.list_runs().items


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({**cart(), "email": "nobody"}, ["body", "email"]),
        ({**cart(), "lines": []}, ["body", "lines"]),
        (cart(count=0), ["body", "lines", 0, "count"]),
    ],
)
def test_a_cart_that_cannot_be_ordered_is_refused(
    shop: httpx2.Client, body: dict[str, Any], where: list[Any]
) -> None:
    answer = shop.post("/orders", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == where


def test_without_the_database_the_shop_asks_to_try_again(
    shop: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "postgresql://127.0.0.1:1/shop"
    away = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(nowhere))
    monkeypatch.setattr(module, "Session", sessionmaker(away))
    answer = shop.post("/orders", json=cart())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_there_is_a_page_for_browsers(shop: httpx2.Client) -> None:
    assert "new EventSource(`/runs/${order.run_id}/events`)" in shop.get("/").text


def test_what_does_not_exist_is_said_to_be_so(shop: httpx2.Client) -> None:
    assert shop.post("/orders", json=cart(sku="coffee")).json()["detail"] == (
        "There is no product coffee."
    )
    assert shop.get("/orders/4711").status_code == 404
    assert shop.get("/runs/unknown").status_code == 404


def test_a_webhook_needs_the_signature_and_the_form_of_the_provider(shop: httpx2.Client) -> None:
    event = PaymentEvent(event_id="1", order_id=1, succeeded=True).model_dump_json().encode()
    assert call_webhook(shop, event, signature="forged") == 403
    assert call_webhook(shop, b'{"order_id": 1}') == 422
    assert call_webhook(shop, event) == 404  # there is no such order
    assert shop.post("/webhooks/payments", content=event).status_code == 422
