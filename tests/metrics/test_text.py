"""The page is text that Prometheus understands, and its names follow Prometheus' conventions."""

from __future__ import annotations

import re

import pytest

from owsuper.metrics import catalogue
from owsuper.metrics.catalogue import Metric
from owsuper.metrics.families import Snapshot, text
from owsuper.metrics.tally import Tally
from tests.metrics.pages import Page

ODD = 'a "b"\\c\nd é {x="y"} <script>'


@pytest.mark.parametrize("metric", catalogue.BY_NAME.values(), ids=lambda metric: metric.name)
def test_a_name_says_what_is_counted_and_in_which_unit(metric: Metric) -> None:
    assert re.fullmatch(r"owsuper_[a-z_]+", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_size"))
    assert metric.bounds == tuple(sorted(metric.bounds))
    assert bool(metric.bounds) == (metric.kind == "histogram")
    assert metric.help.endswith(".")
    assert not {"le", "job", "instance"} & set(metric.labels)


def test_no_two_metrics_are_one_family() -> None:
    families = [metric.name.removesuffix("_total") for metric in catalogue.BY_NAME.values()]
    assert len(set(families)) == len(families)


def test_an_empty_page_has_all_kinds_and_zeros_where_there_are_no_labels() -> None:
    page = Page(text(catalogue.OF_WORKERS, Snapshot()).decode())
    assert len(page.kinds) == len(catalogue.OF_WORKERS)
    names = {each.name for each in page.samples}
    for metric in catalogue.OF_WORKERS:
        if metric.kind == "counter" and not metric.labels:
            assert metric.name in names
    assert page("owsuper_claim_batch_size_count") == 0


def test_labels_of_any_text_are_read_back() -> None:
    tally = Tally()
    tally.count(catalogue.STEP_ATTEMPTS, (ODD, ODD, "failed"), 3)
    tally.observe(catalogue.STEP_SECONDS, 0.3, (ODD, ODD))
    page = Page(text(catalogue.OF_WORKERS, Snapshot(tally.read())).decode())
    assert page("owsuper_step_attempts_total", workflow=ODD, step=ODD) == 3
    assert page("owsuper_step_duration_seconds_count", workflow=ODD, step=ODD) == 1


def test_the_buckets_of_a_histogram_are_cumulative() -> None:
    tally = Tally()
    for size in (1, 2, 2, 50, 1000):
        tally.observe(catalogue.CLAIM_SIZES, size)
    page = Page(text(catalogue.OF_WORKERS, Snapshot(tally.read())).decode())
    assert page.values("owsuper_claim_batch_size_bucket", "le") == {
        "1.0": 1,
        "2.0": 3,
        "5.0": 3,
        "10.0": 3,
        "20.0": 3,
        "50.0": 4,
        "100.0": 4,
        "200.0": 4,
        "+Inf": 5,
    }
    assert page("owsuper_claim_batch_size_sum") == 1055
