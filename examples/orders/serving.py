"""The web application in a thread, for the demonstration and for tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from examples.orders.app import app


def address(listener: socket.socket) -> str:
    """Return the URL of a server that listens there."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def serving(listener: socket.socket) -> Iterator[None]:
    """Serve within the block."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
