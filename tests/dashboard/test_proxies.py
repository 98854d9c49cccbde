"""Behind a proxy: whose headers count, and whom they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from owsuper.dashboard import serving
from owsuper.dashboard.known import Registered
from owsuper.dashboard.passwords import add_user
from owsuper.dashboard.senders import is_loopback, networks, sender_of
from owsuper.workflow.registry import Registry
from tests.dashboard.test_security import token_in

PROXY = "10.0.0.7"
THROUGH = {"x-remote-user": "ada", "x-forwarded-for": "203.0.113.9"}


def behind_proxy(ow: OpenWorkflow, address: str = PROXY, **options: Any) -> TestClient:
    """A browser of the command's dashboard, which is asked by ``address``."""
    given = {
        "host": "0.0.0.0",
        "auth": None,
        "auth_header": "x-remote-user",
        "trusted_proxies": [PROXY, "10.1.0.0/16"],
        "insecure": False,
        "allow_actions": False,
        "hide_values": False,
        "secret": None,
    }
    app = serving.application(ow, Registered(Registry()), **{**given, **options})
    return TestClient(app, client=(address, 1), follow_redirects=False)


@pytest.mark.parametrize("address", [PROXY, "10.1.2.3", "::ffff:10.0.0.7"])
def test_a_trusted_proxy_names_the_user(ow: OpenWorkflow, address: str) -> None:
    page = behind_proxy(ow, address).get("/workers", headers=THROUGH)
    assert page.status_code == 200
    assert "ada" in page.text


@pytest.mark.parametrize("address", ["10.0.0.8", "127.0.0.1", "203.0.113.9", "testclient"])
def test_anybody_else_who_sends_the_header_is_refused(ow: OpenWorkflow, address: str) -> None:
    page = behind_proxy(ow, address).get("/workers", headers=THROUGH)
    assert page.status_code == 403
    assert "through its proxy" in page.text


@pytest.mark.parametrize(
    "headers", [{}, {"x-remote-user": " "}, [("x-remote-user", "ada"), ("x-remote-user", "eve")]]
)
def test_a_proxy_must_name_one_user(ow: OpenWorkflow, headers: Any) -> None:
    assert behind_proxy(ow).get("/workers", headers=headers).status_code == 403


def test_forms_are_compared_with_the_host_that_the_browser_has_called(ow: OpenWorkflow) -> None:
    browser = behind_proxy(ow)
    outside = {**THROUGH, "x-forwarded-host": "flows.example", "x-forwarded-proto": "https"}
    page = browser.get("/workers", headers=outside)
    assert "Secure" in page.headers["set-cookie"]
    cookie = page.headers["set-cookie"].partition(";")[0]
    data = {"theme": "dark", "back": "/workers", "token": token_in(page.text)}
    for origin, code in (("https://flows.example", 303), ("http://testserver", 403)):
        sent = {**outside, "origin": origin, "cookie": cookie}
        assert browser.post("/theme", data=data, headers=sent).status_code == code


def test_https_of_a_proxy_that_is_not_named_is_not_believed(
    ow: OpenWorkflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owsuper.dashboard.passwords._N", 1 << 10)
    add_user(tmp_path / "users", "ada", "correct horse")
    options = {"auth": str(tmp_path / "users"), "auth_header": None}
    browser = behind_proxy(ow, "10.0.0.8", **options)
    page = browser.get("/login", headers={"x-forwarded-proto": "https"})
    assert "Secure" not in page.headers["set-cookie"]


@pytest.mark.parametrize(
    ("host", "proxies", "warned"),
    [("0.0.0.0", [], True), ("0.0.0.0", [PROXY], False), ("127.0.0.1", [], False)],
)
def test_passwords_that_go_over_the_network_as_they_are_are_a_warning(
    ow: OpenWorkflow,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    host: str,
    proxies: list[str],
    warned: bool,
) -> None:
    add_user(tmp_path / "users", "ada", "correct horse")
    auth = {"auth": str(tmp_path / "users"), "auth_header": None}
    behind_proxy(ow, host=host, trusted_proxies=proxies, **auth)
    assert ("put a proxy with HTTPS in front" in caplog.text) == warned


def sender(client: str, *headers: tuple[str, str]) -> Any:
    scope = {
        "type": "http",
        "scheme": "http",
        "client": (client, 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    return sender_of(HTTPConnection(scope), networks([PROXY, "10.1.0.0/16"]))


def test_the_address_is_the_last_one_that_is_no_trusted_proxy() -> None:
    chain = ("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.1.2.3")
    assert sender(PROXY, chain).address == "203.0.113.9"  # the first one may be made up
    assert sender("192.0.2.1", chain).address == "192.0.2.1"
    two = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.1.2.3")]
    assert sender(PROXY, *two).address == "203.0.113.9"
    assert sender(PROXY, ("x-forwarded-for", "10.1.2.3")).address == "10.1.2.3"
    assert sender(PROXY).address == PROXY
    for hop in ("203.0.113.9:5000", "203.0.113.9:5000, 10.1.2.3:80"):
        assert sender(PROXY, ("x-forwarded-for", hop)).address == "203.0.113.9"
    for hop in ("[2001:db8::1]:5000", "[2001:db8::1]", "2001:db8::1"):
        assert sender(PROXY, ("x-forwarded-for", hop)).address == "2001:db8::1"


def test_the_scheme_and_host_are_those_of_the_first_proxy() -> None:
    headers = [("x-forwarded-proto", "https, http"), ("x-forwarded-host", "a.example, b.example")]
    found = sender(PROXY, *headers)
    assert (found.secure, found.host) == (True, "a.example")
    assert not sender("192.0.2.1", *headers).secure


def test_addresses_of_this_machine_are_known_in_all_their_forms() -> None:
    own = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]
    assert [is_loopback(each) for each in own] == [True] * 4
    others = ["10.0.0.1", "::", "0.0.0.0", "localhost", "", "127.0.0.1.example"]
    assert [is_loopback(each) for each in others] == [False] * 6
