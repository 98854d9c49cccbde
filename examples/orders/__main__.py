"""Run the shop: serve it, or play a customer whose worker is killed before the payment."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import uvicorn

from examples.orders.app import app
from examples.orders.database import ow
from examples.orders.serving import address, serving
from owsuper import OwsuperError, Worker


def main() -> int:
    """Start a worker and the web application; serve, or play the customer."""
    parser = argparse.ArgumentParser(prog="python -m examples.orders", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="serve until Ctrl-C")
    parser.add_argument("--port", type=int, help="default: 8000 with --serve, else a free one")
    options = parser.parse_args()
    port = options.port if options.port is not None else 8000 * options.serve
    try:
        with socket.create_server(("127.0.0.1", port)) as listener:
            url = address(listener)
            os.environ["SHOP_URL"] = url  # the worker inherits it
            with new_worker() as worker:
                serve(listener, url) if options.serve else play(listener, url, worker)
    except KeyboardInterrupt:
        return 130
    except (OwsuperError, OSError) as error:
        print(f"orders: error: {error}", file=sys.stderr)
        return 1
    return 0


def new_worker() -> Worker:
    """Return the worker of the shop. In production it is a service of its own."""
    return ow.new_worker(processes=2, modules=["examples.orders.workflows"], log_level="warning")


def serve(listener: socket.socket, url: str) -> None:
    """Serve until Ctrl-C."""
    print(f"The shop is at {url}, and {url}/docs shows what it can do. Ctrl-C ends it.")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


# --- the customer ----------------------------------------------------------------------------


def play(listener: socket.socket, url: str, worker: Worker) -> None:
    """Place an order, kill the worker, pay, and wait for the parcel."""
    with serving(listener), httpx2.Client(base_url=url, timeout=60) as http:
        print(f"The shop is at {url}.")
        lines = [{"sku": "tea", "count": 2}, {"sku": "teapot", "count": 1}]
        cart = {"id": str(uuid4()), "email": "ada@example.com", "lines": lines}
        order = post(http, "/orders", cart)
        print(f"Placed order {order['id']} over {order['total_cents'] / 100:.2f}.")
        again = post(http, "/orders", cart)
        print(f"Sent the cart again: it is still order {again['id']}.")

        order = wait_for(http, order["id"], "awaiting_payment")
        print(f"The order awaits its payment at {order['payment_url']}.")
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.stop()
        print(f"kill -KILL {worker.pid}: there is no worker now.")

        paid = post(http, order["payment_url"], None)
        print(f"Paid. The provider has called the webhook twice: {paid['webhook']}.")
        began = time.monotonic()
        with new_worker():
            print("There is a worker again.")
            for event, run in events(http, f"/runs/{order['run_id']}/events"):
                print(f"{event}: {run['status']} {run['result'] or run['error'] or ''}".rstrip())
            print(f"Shipped {time.monotonic() - began:.1f} s after the new worker was started.")
        print(json.dumps(http.get(f"/orders/{order['id']}").json()))


def post(http: httpx2.Client, path: str, body: Any) -> Any:
    answer = http.post(path, json=body)
    answer.raise_for_status()
    return answer.json()


def wait_for(http: httpx2.Client, order_id: int, status: str) -> Any:
    while (order := http.get(f"/orders/{order_id}").json())["status"] != status:
        time.sleep(0.05)
    return order


def events(http: httpx2.Client, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the events of a stream, as an EventSource in a browser does."""
    with http.stream("GET", path) as stream:
        name = ""
        for line in stream.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


if __name__ == "__main__":
    sys.exit(main())
