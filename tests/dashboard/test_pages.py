"""Every page of the dashboard answers, and says where it is."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

PATHS = {
    "/": "Overview",
    "/runs": "Runs",
    "/workers": "Workers",
    "/workflows": "Workflows",
    "/waiting": "Waiting",
    "/limits": "Limits",
}


@pytest.mark.parametrize("path", PATHS)
def test_each_screen_has_a_heading_and_its_place_in_the_navigation(
    path: str, browser: TestClient
) -> None:
    page = browser.get(path)
    assert page.status_code == 200, page.text
    assert f"<h1>{PATHS[path]}</h1>" in page.text
    here = re.findall(r'<a href="([^"]*)" aria-current="page">', page.text)
    assert here == [path]
