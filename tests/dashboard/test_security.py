"""Who may see pages, whose forms are accepted, and what a browser is told not to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from owsuper.dashboard.pages import SCREENS
from owsuper.dashboard.passwords import PasswordFile, add_user
from owsuper.dashboard.slowing import Slowing
from owsuper.errors import ConfigurationError
from tests.dashboard.conftest import Browse
from tests.dashboard.test_pages import PATHS

PASSWORD = "correct horse"
HERE = "http://127.0.0.1:8080"


@pytest.fixture
def passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("owsuper.dashboard.passwords._N", 1 << 10)  # for the time of the tests
    monkeypatch.setattr("owsuper.dashboard.passwords._P", 1)
    file = tmp_path / "users"
    add_user(file, "ada", PASSWORD)
    return file


def token_in(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, page
    return found[1]


def cookie_of(response: Any) -> str:
    return str(response.headers["set-cookie"])


def log_in(browser: TestClient, name: str = "ada", password: str = PASSWORD, **more: str) -> Any:
    token = token_in(browser.get("/login").text)
    return browser.post("/login", data={"name": name, "password": password, "token": token, **more})


def from_here(ow: OpenWorkflow, address: str = "127.0.0.1", url: str = HERE) -> TestClient:
    """A browser at ``address`` with a dashboard that asks nobody who they are."""
    return TestClient(ow.dashboard(), client=(address, 5), base_url=url, follow_redirects=False)


# --- without a login: this machine alone -------------------------------------------------------


@pytest.mark.parametrize("url", [HERE, "http://localhost", "http://[::1]:80", "http://127.0.0.2"])
def test_a_browser_on_this_machine_may_see_pages(ow: OpenWorkflow, url: str) -> None:
    assert from_here(ow, url=url).get("/waiting").status_code == 200


@pytest.mark.parametrize("address", ["10.0.0.7", "2001:db8::1", "testclient", "::ffff:10.0.0.7"])
def test_a_browser_elsewhere_may_not(ow: OpenWorkflow, address: str) -> None:
    page = from_here(ow, address).get("/")
    assert page.status_code == 403
    assert "--auth" in page.text


@pytest.mark.parametrize("path", [*PATHS, "/nothing-here"])
def test_a_name_of_another_site_that_leads_here_is_refused_everywhere(
    ow: OpenWorkflow, path: str
) -> None:
    page = from_here(ow, url="http://rebound.example:8080").get(path)
    assert page.status_code == 403
    assert "namespace" not in page.text


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"]
)
def test_what_a_proxy_on_this_machine_forwards_may_come_from_anywhere(
    ow: OpenWorkflow, header: str
) -> None:
    assert from_here(ow).get("/", headers={header: "10.0.0.7"}).status_code == 403


def test_a_proxy_on_this_machine_that_adds_no_header_is_known_by_its_old_http(
    ow: OpenWorkflow,
) -> None:
    app = ow.dashboard()

    async def as_nginx(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "http_version": "1.0"}, receive, send)

    browser = TestClient(as_nginx, client=("127.0.0.1", 5), base_url=HERE)
    assert browser.get("/waiting").status_code == 403


# --- passwords ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PATHS, "/nothing-here"])
def test_without_a_login_every_page_leads_to_it_and_back(
    browse: Browse, passwords: Path, path: str
) -> None:
    browser = browse(auth=passwords)
    page = browser.get(f"{path}?status=failed", headers={"accept": "text/html"})
    assert page.status_code == 303
    assert page.headers["location"].startswith("/login?next=%2F")
    form = browser.get(page.headers["location"]).text
    assert f'name="next" value="{path}?status=failed"' in form


def everything() -> list[tuple[str, str]]:
    """The methods and paths of all pages and forms, and of the live updates."""
    made = [
        (method, path)
        for screen in SCREENS
        for method, paths in (("GET", screen.pages), ("POST", screen.forms))
        for path in paths
    ]
    return [*made, ("GET", "/live"), ("GET", "/nothing-here")]


@pytest.mark.parametrize(("method", "path"), everything())
def test_nothing_but_the_login_is_there_for_who_has_not_logged_in(
    browse: Browse, passwords: Path, method: str, path: str
) -> None:
    browser = browse(auth=passwords, allow_actions=True)
    token = token_in(browser.get("/login").text)
    data = {"token": token} if method == "POST" else None
    answer = browser.request(method, path, data=data, headers={"accept": "application/json"})
    assert (answer.status_code, answer.text) == (401, "Log in first.\n")


def test_a_program_without_a_login_gets_401(browse: Browse, passwords: Path) -> None:
    browser = browse(auth=passwords)
    assert browser.get("/", headers={"accept": "application/json"}).status_code == 401


def test_the_right_password_opens_the_page_that_was_wanted(browse: Browse, passwords: Path) -> None:
    browser = browse(auth=passwords)
    answer = log_in(browser, next="/waiting?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/waiting?x=1")
    page = browser.get("/waiting")
    assert page.status_code == 200
    assert "ada" in page.text
    assert PASSWORD not in page.text


@pytest.mark.parametrize(
    "address", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "x"]
)
def test_a_login_leads_to_no_other_site(browse: Browse, passwords: Path, address: str) -> None:
    assert log_in(browse(auth=passwords), next=address).headers["location"] == "/"


@pytest.mark.parametrize(
    ("name", "password"), [("ada", "wrong"), ("ada", ""), ("eve", PASSWORD), ("", "")]
)
def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(
    browse: Browse, passwords: Path, name: str, password: str
) -> None:
    browser = browse(auth=passwords)
    answer = log_in(browser, name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong." in answer.text
    assert browser.get("/", headers={"accept": "text/html"}).status_code == 303


def test_who_tries_many_passwords_has_to_wait_even_with_the_right_one(
    browse: Browse, passwords: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owsuper.dashboard.slowing._FIRST", 300.0)
    browser = browse(auth=passwords)
    codes = [log_in(browser, password=f"wrong {n}").status_code for n in range(5)]
    assert codes == [401] * 5
    answer = log_in(browser)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert log_in(browser, "eve").status_code == 401  # another name is not locked


def test_pauses_grow_and_end_and_a_success_forgets() -> None:
    now = 1000.0
    slowing = Slowing(lambda: now)
    for _ in range(5):
        assert slowing.pause("10.0.0.7", "ada") <= 0
        slowing.failed("10.0.0.7", "ada")
    assert slowing.pause("10.0.0.7", "ada") == 1.0
    assert slowing.pause("10.0.0.7", "eve") <= 0
    assert slowing.pause("10.0.0.8", "ada") <= 0
    now += 1
    assert slowing.pause("10.0.0.7", "ada") <= 0
    slowing.failed("10.0.0.7", "ada")
    assert slowing.pause("10.0.0.7", "ada") == 2.0
    slowing.succeeded("10.0.0.7", "ada")
    assert slowing.pause("10.0.0.7", "ada") <= 0


def test_an_address_that_tries_many_names_has_to_wait_with_all_of_them() -> None:
    slowing = Slowing(lambda: 1000.0)
    for number in range(20):
        slowing.failed(f"2001:db8::{number:x}", f"name {number}")  # one network of IPv6
    assert slowing.pause("2001:db8::ffff", "ada") == 1.0
    assert slowing.pause("2001:db8:0:1::1", "ada") <= 0


def test_a_success_does_not_count_for_others_of_the_address() -> None:
    slowing = Slowing(lambda: 1000.0)
    for number in range(100):  # an office behind one address
        assert slowing.pause("10.0.0.7", f"name {number}") <= 0
        slowing.failed("10.0.0.7", f"name {number}")
        slowing.succeeded("10.0.0.7", f"name {number}")
    for number in range(20):
        slowing.failed("10.0.0.7", f"name {number}")
    slowing.failed("10.0.0.7", "eve")
    slowing.succeeded("10.0.0.7", "eve")
    assert slowing.pause("10.0.0.7", "ada") == 1.0


def test_an_address_of_ipv4_is_one_at_a_socket_of_ipv6_too() -> None:
    slowing = Slowing(lambda: 1000.0)
    for number in range(20):
        slowing.failed("::ffff:10.0.0.7", f"name {number}")
    assert slowing.pause("10.0.0.7", "ada") == 1.0
    assert slowing.pause("::ffff:10.0.0.8", "ada") <= 0


def test_a_session_begins_anew_with_the_login_and_ends_with_the_logout(
    browse: Browse, passwords: Path
) -> None:
    browser = browse(auth=passwords)
    before = token_in(browser.get("/login").text)
    log_in(browser)
    inside = token_in(browser.get("/waiting").text)
    assert inside != before
    left = browser.post("/logout", data={"token": inside})
    assert left.headers["location"] == "/login"
    assert browser.get("/waiting", headers={"accept": "text/html"}).status_code == 303


def test_another_password_and_the_removal_of_a_user_end_their_sessions(
    browse: Browse, passwords: Path
) -> None:
    add_user(passwords, "eve", PASSWORD)
    ada, eve = browse(auth=passwords), browse(auth=passwords)
    log_in(ada)
    log_in(eve, "eve")
    add_user(passwords, "ada", "another one")
    kept = [line for line in passwords.read_text().splitlines() if not line.startswith("eve:")]
    passwords.write_text("\n".join(kept))
    for browser in (ada, eve):
        assert browser.get("/waiting", headers={"accept": "text/html"}).status_code == 303
    log_in(ada, password="another one")
    assert ada.get("/waiting").status_code == 200


def test_a_session_expires_and_the_login_says_so(
    browse: Browse, passwords: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browse(auth=passwords)
    log_in(browser)
    monkeypatch.setattr("owsuper.dashboard.sessions.LIFETIME", -1)
    page = browser.get("/waiting", headers={"accept": "text/html"})
    assert "expired=1" in page.headers["location"]
    assert "Your session has ended." in browser.get(page.headers["location"]).text


def test_a_password_file_that_breaks_later_lets_nobody_in_and_shows_no_line_of_it(
    browse: Browse, passwords: Path
) -> None:
    browser = browse(auth=passwords)
    log_in(browser)
    passwords.write_text("ada:s3cret in plain text\n")
    page = browser.get("/waiting")
    assert page.status_code == 503
    assert "s3cret" not in page.text
    assert str(passwords) not in page.text


# --- cookies -----------------------------------------------------------------------------------


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(browser: TestClient) -> None:
    cookie = cookie_of(browser.get("/waiting"))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=2592000" in cookie  # it counts for twelve hours: then the login says so
    assert "Secure" not in cookie  # over HTTP, the browser would not keep it


def test_over_https_the_cookie_is_secure(ow: OpenWorkflow) -> None:
    browser = TestClient(ow.dashboard(insecure=True), base_url="https://shop.example")
    assert "Secure" in cookie_of(browser.get("/waiting"))


@pytest.mark.parametrize("change", ["x", ""])
def test_a_forged_cookie_is_no_login(browse: Browse, passwords: Path, change: str) -> None:
    browser = browse(auth=passwords, secret="of the first server")
    log_in(browser)
    [(name, value)] = browser.cookies.items()
    other = browse(auth=passwords, secret="of the first server" if change else "of another server")
    other.cookies.set(name, value.replace(".", change + ".", 1))
    assert other.get("/waiting", headers={"accept": "text/html"}).status_code == 303


def test_processes_with_one_secret_know_each_others_sessions(
    browse: Browse, passwords: Path
) -> None:
    one, other = (browse(auth=passwords, secret="shared by the processes") for _ in range(2))
    log_in(one)
    other.cookies.update(dict(one.cookies))
    assert other.get("/waiting").status_code == 200


def test_the_secret_may_come_from_the_environment(
    browse: Browse, passwords: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWSUPER_DASHBOARD_SECRET", "shared by the processes")
    one, other = (browse(auth=passwords) for _ in range(2))
    log_in(one)
    other.cookies.update(dict(one.cookies))
    assert other.get("/waiting").status_code == 200


def test_a_short_secret_is_refused(ow: OpenWorkflow) -> None:
    with pytest.raises(ConfigurationError, match="at least 16 characters"):
        ow.dashboard(secret="short")


# --- forms -------------------------------------------------------------------------------------


def theme(browser: TestClient, token: str | None = None, **headers: str) -> Any:
    """The answer to a form; by default one with the token of the page."""
    token = token_in(browser.get("/waiting").text) if token is None else token
    data = {"theme": "dark", "back": "/waiting", "token": token}
    return browser.post("/theme", data=data, headers=headers)


def test_a_form_of_a_page_of_ours_is_accepted(browser: TestClient) -> None:
    answer = theme(browser, origin="http://testserver")
    assert (answer.status_code, answer.headers["location"]) == (303, "/waiting")
    assert 'data-theme="dark"' in browser.get("/waiting").text


@pytest.mark.parametrize("token", ["", "x", "\N{GREEK SMALL LETTER ALPHA}"])
def test_a_form_without_the_token_is_refused(browser: TestClient, token: str) -> None:
    browser.get("/waiting")
    assert theme(browser, token).status_code == 403


def test_a_token_of_another_browser_is_refused(browse: Browse) -> None:
    one, other = browse(), browse()
    token = token_in(one.get("/waiting").text)
    other.get("/waiting")
    assert theme(other, token).status_code == 403


def test_a_token_without_its_cookie_is_refused(browser: TestClient) -> None:
    token = token_in(browser.get("/waiting").text)
    browser.cookies.clear()
    assert theme(browser, token).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver:81", "x"])
def test_a_form_of_another_site_is_refused_even_with_the_token(
    browser: TestClient, origin: str
) -> None:
    assert theme(browser, origin=origin).status_code == 403


def test_a_browser_that_says_cross_site_is_refused(browser: TestClient) -> None:
    assert theme(browser, **{"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/runs", "/metrics", "/workers/stacks", "/live?topic=x"])
def test_another_site_leads_to_pages_and_has_none_of_them_in_its_own(
    browse: Browse, path: str
) -> None:
    browser = browse()
    parts = [("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("websocket", "")]
    for mode, kind in parts:
        told = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode, "sec-fetch-dest": kind}
        answer = browser.get(path, headers=told)
        assert answer.status_code == 403
        assert "A page of another site has asked" in answer.text
    link = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert browser.get(path, headers=link).status_code != 403
    of_our_page = link | {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert browser.get(path, headers=of_our_page).status_code != 403


def test_a_form_must_be_a_form(browser: TestClient) -> None:
    token = token_in(browser.get("/waiting").text)
    assert browser.post("/theme", json={"token": token}).status_code == 415
    plain = {"content-type": "text/plain"}
    sent = browser.post("/theme", content=f"token={token}", headers=plain)
    assert sent.status_code == 415


def test_a_form_that_is_too_large_or_no_text_is_refused(browser: TestClient) -> None:
    browser.get("/waiting")
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert browser.post("/theme", content=b"a" * (5 << 20), headers=kind).status_code == 413
    assert browser.post("/theme", content=b"a=\xff", headers=kind).status_code == 400
    assert browser.post("/theme", content=b"a=1&" * 6000, headers=kind).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_other_methods_find_no_page(browser: TestClient, method: str) -> None:
    assert browser.request(method, "/waiting").status_code in (403, 404, 415)


# --- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PATHS, "/nothing-here", "/login", "/static/dashboard.css"])
def test_every_answer_forbids_inline_scripts_frames_and_guessing(
    browser: TestClient, path: str
) -> None:
    headers = browser.get(path).headers
    policy = dict(
        each.partition(" ")[::2] for each in headers["content-security-policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    kept = path.startswith("/static/")
    assert headers["cache-control"] == ("no-cache" if kept else "no-store")


@pytest.mark.parametrize("path", PATHS)
def test_no_page_has_what_the_policy_forbids(browser: TestClient, path: str) -> None:
    page = browser.get(path).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", page)


@pytest.mark.parametrize(
    "path",
    [
        "/audit/a%00b",
        "/actions/signal?signal=a%00b",
        "/actions/signal?run=%00",
        "/actions/start?workflow=a%00b",
        "/workers/stacks?worker=%00",
        "/runs/%00/raw.json",
        "/runs/x/attempts/%00/output",
        "/login?next=%00",
        "/runs?%00=1",
    ],
)
def test_a_text_that_no_database_holds_is_no_outage(path: str, browse: Browse) -> None:
    answer = browse(allow_actions=True).get(path)
    assert answer.status_code == (400 if "?" in path else 404)
    assert "does not answer" not in answer.text


def test_a_field_that_no_database_holds_is_refused_by_name(browse: Browse) -> None:
    browser = browse(allow_actions=True)
    token = token_in(browser.get("/actions/start?workflow=w").text)
    data = {"token": token, "id": "x", "from_step": "a\0b"}
    answer = browser.post("/actions/rerun", data=data)
    assert answer.status_code == 400
    assert "from_step: has a character that PostgreSQL cannot hold" in answer.text


def test_a_path_with_a_line_break_makes_no_line_of_the_log(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("owsuper.dashboard.pages.run.raw_run.RawRun", None)
    assert browser.get("/runs/x%0Aforged line/raw.json").status_code == 500
    assert "forged line" in caplog.text
    assert "\nforged line" not in caplog.text


# --- other ways in -----------------------------------------------------------------------------


def test_the_application_around_it_may_name_the_user(browse: Browse) -> None:
    def user(scope: Any) -> str | None:
        return next((v.decode() for k, v in scope["headers"] if k == b"x-from-app"), None)

    browser = browse(user=user)
    assert browser.get("/waiting").status_code == 403
    assert "grace" in browser.get("/waiting", headers={"x-from-app": "grace"}).text


async def a_coroutine(scope: Any) -> str | None:
    return None


@pytest.mark.parametrize("user", [a_coroutine, lambda scope: object(), lambda scope: True])
def test_who_is_no_name_is_nobody(
    user: Any, browse: Browse, caplog: pytest.LogCaptureFixture
) -> None:
    browser = browse(user=user, allow_actions=True)
    for page in ("/", "/waiting", "/audit", "/live?topic=runs", "/metrics", "/actions/start"):
        answer = browser.get(page)
        assert answer.status_code == 503
        assert "dashboard cannot be used now" in answer.text
        assert "<nav" not in answer.text
    assert "user= must be a def function that returns the name" in caplog.text


def test_ways_in_exclude_each_other(ow: OpenWorkflow, passwords: Path) -> None:
    with pytest.raises(ConfigurationError, match="auth and insecure exclude each other"):
        ow.dashboard(auth=passwords, insecure=True)


BROKEN = {
    "a directory": (None, "cannot be read"),
    "no user": ("# nobody\n", "has no user"),
    "a password in plain text": ("ada:s3cret\n", "line 1 is not name:scrypt"),
    "a name alone": ("# x\nada\n", "line 2 is not name:scrypt"),
    "numbers that take for ever": (f"ada:scrypt$1048576$8$900${'QUFB' * 4}${'QUFB' * 8}", "line 1"),
    "other bytes": (b"ada:\xff", "not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_password_file_that_cannot_be_used_is_refused(
    content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "users"
    if content is None:
        file.mkdir(mode=0o700)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(0o600)
    with pytest.raises(ConfigurationError, match=message) as caught:
        PasswordFile(file)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666])
def test_a_password_file_that_others_can_read_or_change_is_refused(
    passwords: Path, mode: int
) -> None:
    passwords.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        PasswordFile(passwords)


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", " ada", "#ada", "x" * 101])
def test_a_name_that_the_file_cannot_hold_is_refused(passwords: Path, name: str) -> None:
    before = passwords.read_text()
    with pytest.raises(ConfigurationError, match="no name for a user"):
        add_user(passwords, name, PASSWORD)
    assert passwords.read_text() == before


def test_a_short_password_is_refused(passwords: Path) -> None:
    with pytest.raises(ConfigurationError, match="8 to 1024 characters"):
        add_user(passwords, "eve", "1234567")


def test_the_file_keeps_its_other_lines_and_is_closed_to_others(passwords: Path) -> None:
    passwords.write_text(f"# who looks after orders\n{passwords.read_text()}")
    assert add_user(passwords, "eve", PASSWORD)
    assert not add_user(passwords, "ada", PASSWORD)
    lines = passwords.read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["# who looks after orders", "eve", "ada"]
    assert passwords.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in passwords.read_text()
