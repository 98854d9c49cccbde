"""The dashboard for Grafana and the alert rules use metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from owsuper.metrics import catalogue
from tests.docs.documents import ROOT, Document

DASHBOARD = ROOT / "examples" / "metrics" / "grafana.json"
RULES = ROOT / "examples" / "metrics" / "alerts.yml"
PAGE = Document("docs/metrics.md")

OF_PROMETHEUS = {"up", "process_resident_memory_bytes"}
ADDED = {"job", "instance"}  # labels that Prometheus adds
VARIABLES = {"$__rate_interval", "$job", "$workflow"}
NEW = {"owsuper_child_crashes_total"}  # an alert also asks whether there is a new series


def metrics() -> dict[str, set[str]]:
    """The labels of every series of a worker's page, by its name."""
    found = {name: set[str]() for name in OF_PROMETHEUS}
    for metric in catalogue.OF_WORKERS:
        labels = set(metric.labels)
        if metric.kind == "histogram":
            found[f"{metric.name}_bucket"] = labels | {"le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = labels
        else:
            found[metric.name] = labels
    return found


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def of_dashboard() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [each["query"]["query"] for each in dashboard["templating"]["list"][1:]]
    return queries + [
        target["expr"] for panel in panels(dashboard) for target in panel.get("targets", [])
    ]


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


EXPRESSIONS = [*of_dashboard(), *(rule["expr"] for rule in rules())]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_exist(expression: str) -> None:
    known = metrics()
    used = set(re.findall(r"\b(?:owsuper|process)_[a-z_]+\b|\bup\b", expression))
    assert used
    assert used <= known.keys()
    allowed = set.union(*(known[name] for name in used)) | ADDED
    for matchers in re.findall(r"\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= allowed
    for labels in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", labels)) <= allowed
    for label in re.findall(r"label_values\([^,]+, (\w+)\)", expression):
        assert label in allowed
    assert set(re.findall(r"\$\w+", expression)) <= VARIABLES
    assert expression.count("(") == expression.count(")")


def test_counters_are_read_as_rates() -> None:
    for expression in EXPRESSIONS:
        for found in re.finditer(r"owsuper_\w+_(?:total|bucket|sum|count)\b", expression):
            if not expression.startswith("label_values"):
                before = expression[: found.start()]
                assert before.endswith(("rate(", "increase(")) or found[0] in NEW, expression


def test_the_first_crash_of_any_cause_is_an_alert() -> None:
    [crashes] = [rule for rule in rules() if rule["alert"] == "OwsuperChildProcessesCrash"]
    name = "owsuper_child_crashes_total"
    assert f"increase({name}[15m])" in crashes["expr"]
    assert f"{name} unless {name} offset 15m" in crashes["expr"]


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(of_dashboard())
    missing = {metric.name for metric in catalogue.OF_WORKERS if metric.name not in shown}
    assert missing == {"owsuper_queue_asked_timestamp_seconds"}  # an alert uses it


def test_panels_do_not_overlap_and_have_a_title() -> None:
    taken = set()
    numbers = []
    for panel in panels(json.loads(DASHBOARD.read_text())):
        assert panel["title"]
        numbers.append(panel["id"])
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len(numbers) == len(set(numbers))


def test_an_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
        assert used <= kept or "by (" not in rule["expr"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of prometheus")
def test_prometheus_accepts_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
