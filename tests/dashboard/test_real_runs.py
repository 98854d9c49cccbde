"""Each action on real runs: a worker and the command as processes, a browser without scripts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from owsuper import OpenWorkflow, RunHandle
from owsuper.errors import RunCanceled
from tests.dashboard.forms import Form, forms
from tests.fixtures.processes import Program, Spawn

FLOWS = """
import dataclasses
from pathlib import Path
from owsuper import OpenWorkflow, RetryPolicy, Step

ow = OpenWorkflow()

@dataclasses.dataclass
class Order:
    item: str
    quantity: int = 1

@dataclasses.dataclass
class Approval:
    by: str
    approved: bool

@ow.workflow
def order(step: Step, input: Order) -> str:
    signal = step.wait_for_signal("approve", type=Approval)
    return f"{input.quantity} {input.item} {signal.data.by} {signal.data.approved}"

@ow.workflow
def fragile(step: Step, input: str) -> str:
    def look():
        return Path(input).read_text()
    return step.run("look", look, retry=RetryPolicy(maximum_attempts=1))

@ow.workflow
def family(step: Step, input: int) -> None:
    step.run_workflow(order, Order("child"))
"""


class Browser:
    """A browser without JavaScript in front of the command."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def get(self, path: str) -> httpx2.Response:
        page = self._client.get(path, follow_redirects=True)
        assert page.status_code == 200, page.text
        return page

    def send(self, path: str, index: int = 0, **changes: str) -> httpx2.Response:
        """Open a page, and send one of its forms."""
        form: Form = forms(self.get(path))[index]
        data = {**dict(form.fields), **changes}
        name, value, _ = form.buttons[0]
        if name:
            data[name] = value
        return self._client.post(form.action, data=data, follow_redirects=True)


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def start(
    spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str
) -> Callable[..., Program]:
    (tmp_path / "flows.py").write_text(FLOWS)
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    return lambda *argv: spawn_owsuper(*argv, env=env, cwd=tmp_path)


@pytest.fixture
def worker(start: Callable[..., Program]) -> Program:
    program = start("--module=flows", "--processes=1")
    program.stderr.wait_for("ready:")
    return program


@pytest.fixture
def browser(start: Callable[..., Program]) -> Iterator[Browser]:
    program = start("dashboard", "--module=flows", "--port=0", "--allow-actions")
    address = program.stderr.wait_for(r"dashboard at (\S+) \(actions allowed\)")[1]
    with httpx2.Client(base_url=address.rstrip("/"), timeout=60) as client:
        yield Browser(client)
    program.terminate()
    assert program.wait() == 0


def started(ow: OpenWorkflow, page: httpx2.Response) -> RunHandle[Any]:
    found = re.search(r'href="/runs/([^"]+)"', page.text)
    assert found, page.text
    return ow.get_run(found[1])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # the database can only be polled


@pytest.mark.slow
def test_a_run_is_started_and_answered_by_forms_that_follow_its_types(
    worker: Program, browser: Browser, ow: OpenWorkflow
) -> None:
    refused = browser.send(
        "/actions/start?workflow=order", **{"value.item": "tea", "value.quantity": "many"}
    )
    assert refused.status_code == 422
    assert "is no whole number" in refused.text
    typed = {"value.item": "tea", "value.quantity": "3"}
    run = started(ow, browser.send("/actions/start?workflow=order", **typed))
    until(lambda: "approve" in browser.get("/waiting").text)
    path = f"/actions/signal?signal=approve&run={run.id}"
    refused = browser.send(path, 1, json='{"by": 7, "approved": true}')
    assert refused.status_code == 422
    assert "by: expected str, got int" in refused.text
    answer = browser.send(path, **{"value.by": "Ada", "value.approved": "true"})
    assert "The signal was sent." in answer.text
    assert run.result(timeout=60) == "3 tea Ada True"
    again = started(ow, browser.send(f"/actions/rerun?id={run.id}"))
    assert again.id != run.id
    assert again.details().input == {"item": "tea", "quantity": 3}


@pytest.mark.slow
def test_runs_are_canceled_and_retried_and_the_worker_is_looked_at_and_drained(
    worker: Program, browser: Browser, ow: OpenWorkflow, tmp_path: Path
) -> None:
    parent = ow.run_workflow("family", 1)
    until(lambda: bool(ow.list_runs(workflow="order").items))
    [child] = ow.list_runs(workflow="order").items
    assert "The run is canceled." in browser.send(f"/actions/cancel?id={parent.id}").text
    for run_id in (parent.id, child.id):
        with pytest.raises(RunCanceled):
            ow.get_run(run_id).result(timeout=60)

    missing = tmp_path / "missing"
    fragile = ow.run_workflow("fragile", str(missing))
    until(lambda: fragile.status() == "failed")
    missing.write_text("found")
    assert "put back" in browser.send(f"/actions/retry?id={fragile.id}").text
    assert fragile.result(timeout=60) == "found"

    [listed] = ow.list_workers()
    stacks = browser.get(f"/workers/stacks?worker={listed.id}&child=1")
    assert "thread owsuper-slot" in stacks.text
    assert "asked to drain" in browser.send(f"/actions/drain?worker={listed.id}").text
    assert worker.wait() == 0
    gone = browser.get("/audit")
    assert [each in gone.text for each in ("cancel", "retry", "drain")] == 3 * [True]
