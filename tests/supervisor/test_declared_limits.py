"""A worker stores the limits of its code, and keeps them; a reload changes and removes them."""

from __future__ import annotations

import signal
from pathlib import Path

from owsuper import OpenWorkflow
from tests.supervisor.worker import FLOWS, Begin, Worker

LIMITED = """
from owsuper import Concurrency, Rate

@ow.workflow("limited", limits={limits})
def limited(step, input: dict):
    step.run("note", note, input["text"])
    step.wait_for_signal("go:" + input["text"])
"""


def write(directory: Path, limits: str) -> None:
    """Write code whose length depends on the limits, so that no .pyc is taken for fresh."""
    (directory / "flows.py").write_text(FLOWS + LIMITED.format(limits=limits))


def reload(worker: Worker, count: int = 1) -> None:
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for(r": reloaded: ", count=count)


def test_the_limits_of_the_code_hold_and_change_with_it(
    begin: Begin, tmp_path: Path, database_url: str, schema: str
) -> None:
    write(tmp_path, '[Concurrency(1, key="key")]')
    worker = begin()
    worker.log.wait_for(r'limit "limited/concurrency/key": stored')
    first, second = (worker.start("limited", text=text, key="a") for text in ("1", "2"))
    worker.start("limited", text="3", key="b")
    for text in "13":
        worker.await_effect(text)
    ow = OpenWorkflow(database_url, schema=schema)
    limit = ow.get_limit("limited/concurrency/key")
    keys = [(each.key, each.held, each.waiting) for each in limit.keys]
    assert keys == [("a", 1, 1), ("b", 1, 0)]

    write(tmp_path, '[Concurrency(2, key="key")]')
    reload(worker)
    worker.log.wait_for(r'limit "limited/concurrency/key": changed')
    worker.await_effect("2")
    worker.start("limited", text="4", key="a")

    write(tmp_path, "[]")
    reload(worker, 2)
    worker.log.wait_for(r'limit "limited/concurrency/key": removed')
    worker.await_effect("4")
    assert ow.list_limits() == []
    for text in "1234":
        ow.send_signal(f"go:{text}", buffer=True)
    for run in (first, second):
        worker.await_outcome(run)
    ow.close()
    assert worker.stop() == 0
    assert " ERROR " not in worker.log.text
