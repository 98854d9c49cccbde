"""docs/tracing.md: real worker processes export their spans as the page says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/tracing.md")

EXPORTER = """
import json, os
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

class OTLPSpanExporter(SpanExporter):
    '''Appends the spans to a file.'''

    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            for span in spans:
                found = {**json.loads(span.to_json(indent=None)), "pid": os.getpid()}
                file.write(json.dumps(found) + "\\n")
        return SpanExportResult.SUCCESS

    def shutdown(self):
        pass
"""


@pytest.mark.slow
@PAGE.covers("worker", "client")
def test_the_spans_of_a_client_and_of_forked_workers_are_exported(connected: Sandbox) -> None:
    spans = connected.directory / "spans"
    connected.env["SPANS"] = str(spans)
    connected.env["PYTHONPATH"] = str(Path(__file__).parents[2])
    connected.write("opentelemetry/exporter/otlp/proto/http/trace_exporter.py", EXPORTER)
    connected.write("shop.py", PAGE["worker"])
    connected.write("client.py", PAGE["client"])
    connected.env["PYTHONPATH"] += f":{connected.directory}"
    worker = connected.worker("owsuper --processes 2 --module shop.py")
    worker.stderr.wait_for("ready: ")
    connected.run("python client.py; python client.py")
    connected.run("python -c 'from shop import order; order.run(\"9\").result(60)'")
    worker.terminate()
    assert worker.wait() == 0
    worker.end()
    assert "preload" not in worker.stderr.text  # the import leaves no thread

    found = [json.loads(line) for line in spans.read_text().splitlines()]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for span in found:
        by_name.setdefault(span["name"], []).append(span)
    assert len(by_name["checkout"]) == len(by_name["workflow_run.create"]) == 2
    assert len(by_name["workflow_run.execute"]) == len(by_name["shelf"]) == 3
    steps = {span["context"]["span_id"]: span for span in by_name["step_attempt.execute"]}
    for own in by_name["shelf"]:
        step = steps[own["parent_id"]]
        assert step["attributes"]["openworkflow.step.name"] == "reserve"
        assert step["pid"] == own["pid"]
    created = {span["context"]["span_id"] for span in by_name["workflow_run.create"]}
    links = [link for run in by_name["workflow_run.execute"] for link in run["links"]]
    assert {link["context"]["span_id"] for link in links} == created
    assert {span["pid"] for span in by_name["checkout"]}.isdisjoint(
        span["pid"] for span in by_name["shelf"]
    )


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
