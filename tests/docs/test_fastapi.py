"""What docs/fastapi.md says of applications on the web is so."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl"),
]

PAGE = Document("docs/fastapi.md")


def serve(sandbox: Sandbox, server: str) -> int:
    """Start a server at a free port, which is returned."""
    web = sandbox.worker(f"python -m {server} --port 0")
    return int(web.stderr.wait_for(r"running on http://127.0.0.1:(\d+)", timeout=120).group(1))


@PAGE.covers("shop", "serve", "curl", "printed")
def test_the_shop_of_the_page_answers_as_printed(connected: Sandbox) -> None:
    connected.write("shop.py", PAGE["shop"])
    worker, server = PAGE["serve"].strip().split(" & ")
    connected.worker(worker).stderr.wait_for("ready: workflows=1", timeout=120)
    port = serve(connected, server)
    printed = connected.run(PAGE["curl"].replace("8000", str(port)))
    assert re.sub(r'("id": ?)"[^"]+"', r'\1"..."', printed) == PAGE["printed"]
    # What the page says of tokens and of errors:
    orders = f"http://127.0.0.1:{port}/orders"
    assert "Field required" in connected.run(f"curl -s {orders} --json '{{}}'")
    milk = """--json '{"sku": "milk", "count": 2}'"""
    run_id = json.loads(connected.run(f"curl -s {orders} -H token:secret {milk}"))["id"]
    end = json.loads(connected.run(f"curl -s {orders}/{run_id}/result -H token:secret"))
    assert end["error"] == {"name": "OutOfStock", "message": "there is no milk"}
    cancel = connected.run(f"curl -s -X POST {orders}/{run_id}/cancel")
    assert "failed" in json.loads(cancel)["detail"]


@PAGE.covers("key", "own-lifespan", "starlette")
@pytest.mark.parametrize("name", ["key", "own-lifespan", "starlette"])
def test_each_application_of_the_page_starts_and_answers(connected: Sandbox, name: str) -> None:
    connected.write("shop.py", PAGE["shop"])
    connected.write("app.py", PAGE[name])
    port = serve(connected, "uvicorn app:app")
    orders = f"http://127.0.0.1:{port}/orders"
    if name == "starlette":
        assert "no such run" in connected.run(f"curl -s {orders}/unknown/events")
    elif name == "key":
        start = f"""curl -s {orders} -H Idempotency-Key:1 --json '{{"sku": "tea", "count": 2}}'"""
        ids = {connected.run(f"{start} -H user:{user}") for user in ("ada", "bob", "ada")}
        assert len(ids) == 2


@PAGE.covers("browser")
def test_the_browser_listens_to_the_event_that_is_sent() -> None:
    assert 'addEventListener("end"' in PAGE["browser"]
    assert "event: end" in PAGE["printed"]
    assert "/events`" in PAGE["browser"]


def test_every_example_is_executed() -> None:
    assert PAGE.unexecuted() == []
