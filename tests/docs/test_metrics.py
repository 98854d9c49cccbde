"""docs/metrics.md lists the metrics that the code has, and its example is a configuration."""

from __future__ import annotations

import re
import shlex

import yaml

from owsuper import setting_sources
from tests.docs import metrics_page
from tests.docs.documents import ROOT, Document

PAGE = Document("docs/metrics.md")


def test_the_tables_are_up_to_date() -> None:
    assert metrics_page.generated(PAGE.text) == PAGE.text, (
        "docs/metrics.md is stale; run: python -m tests.docs.metrics_page"
    )


@PAGE.covers("install")
def test_the_flag_and_the_extra_exist() -> None:
    install, worker, curl = (shlex.split(line) for line in PAGE["install"].splitlines())
    assert install == ["pip", "install", "owsuper[metrics]"]
    assert "\nmetrics = [" in (ROOT / "pyproject.toml").read_text()
    port = setting_sources.load(
        {"metrics_port": worker[worker.index("--metrics-port") + 1]}
    ).metrics_port
    assert curl == ["curl", f"http://127.0.0.1:{port}/metrics"]


@PAGE.covers("scrape")
def test_prometheus_is_told_of_each_worker() -> None:
    [job] = yaml.safe_load(PAGE["scrape"])["scrape_configs"]
    assert job["job_name"] == "owsuper"  # as the alert rules expect
    assert len(job["static_configs"][0]["targets"]) == 2


def test_every_alert_is_explained() -> None:
    rules = yaml.safe_load((ROOT / "examples" / "metrics" / "alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert set(re.findall(r"^\| `(Owsuper\w+)` \|", PAGE.text, re.M)) == alerts


def test_every_block_is_executed() -> None:
    assert PAGE.unexecuted() == []
