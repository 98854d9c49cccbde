"""Reading pages of metrics, as Prometheus does."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families


class Page:
    """The values of a page. ``page("name", label="value")`` adds those that fit; 0 if none does."""

    def __init__(self, text: str) -> None:
        self.text = text
        families = list(text_string_to_metric_families(text))
        self.kinds = {family.name: family.type for family in families}
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        fits = [each for each in self.samples if each.name == name]
        fits = [each for each in fits if labels.items() <= each.labels.items()]
        return sum(each.value for each in fits)

    def values(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels."""
        found: dict[str, float] = {}
        for each in self.samples:
            if each.name == name:
                found[each.labels[label]] = found.get(each.labels[label], 0) + each.value
        return found


def get(port: int, path: str = "/metrics") -> tuple[int, str]:
    """The status and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def scrape(port: int) -> Page:
    status, body = get(port)
    assert status == 200, (status, body)
    return Page(body)


def scrape_until(port: int, condition: Callable[[Page], bool], within: float = 60.0) -> Page:
    """The first page that fulfills the condition."""
    deadline = time.monotonic() + within
    while not condition(page := scrape(port)):
        assert time.monotonic() < deadline, page.text
        time.sleep(0.05)  # a page can only be polled
    return page
