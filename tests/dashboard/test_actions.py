"""Actions are confirmed, performed once, and answered; read-only dashboards have none."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import Any

import pytest
from httpx2 import Response
from psycopg.conninfo import conninfo_to_dict
from starlette.testclient import TestClient

from owsuper import OpenWorkflow, Step
from owsuper.dashboard.known import ApplicationFailed
from tests.client.conftest import Rows
from tests.dashboard.conftest import Browse
from tests.dashboard.forms import act, follow, forms, send
from tests.db.rows import Tables, from_now

PAGES = [
    *("cancel?id=x", "retry?id=x", "rerun?id=x", "signal", "start", "drain?worker=x"),
    *("pause?workflow=w", "resume?workflow=w"),
]


@pytest.fixture
def browser(browse: Browse) -> TestClient:
    """A browser with a dashboard that permits actions."""
    return browse(allow_actions=True)


def notice(page: Response) -> str:
    """What the page with the answer says."""
    found = re.search(r'<p class="notice[^>]*>(.*?)</p>', page.text, re.S)
    assert found, page.text
    return re.sub(r"<.*?>", "", found[1]).strip()


def entries(tables: Tables) -> list[dict[str, Any]]:
    return sorted(tables.rows("owsuper_audit"), key=lambda each: each["asked_at"])


# --- read-only ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_read_only_dashboard_performs_nothing(page: str, browse: Browse, tables: Tables) -> None:
    browser = browse()
    token = re.search(r'name="token" value="([^"]+)"', browser.get("/audit").text)
    assert token
    path = f"/actions/{page}"
    data = {"token": token[1], "id": "x", "worker": "x", "signal": "go", "workflow": "w"}
    for answer in (browser.get(path), browser.post(path.partition("?")[0], data=data)):
        assert answer.status_code == 403
        assert "--allow-actions" in answer.text
    assert tables.count("owsuper_audit") == 0


# --- one run ------------------------------------------------------------------------------------


def test_a_run_is_canceled_with_its_children(browser: TestClient, tables: Tables) -> None:
    run = tables.parked()
    child = tables.child(run, worker_id=None)
    page = browser.get(f"/actions/cancel?id={run}")
    assert "Cancel this run?" in page.text
    assert run in page.text
    answer = follow(browser, send(browser, forms(page)[0]))
    assert notice(answer) == "The run is canceled."
    assert {tables.fetch(each)["status"] for each in (run, child)} == {"canceled"}
    [entry] = entries(tables)
    assert (entry["action"], entry["target"]) == ("cancel", {"id": run})
    assert (entry["arguments"], entry["address"]) == ({"children": True}, "testclient")


def test_a_run_is_found_among_many_whose_ids_begin_with_its_id(
    browser: TestClient, tables: Tables
) -> None:
    run = tables.parked(id="order-1", created_at=from_now(-3600))
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".workflow_runs (namespace_id, id, workflow_name, status,'
        " config, attempts, created_at, updated_at)"
        " SELECT 'default', 'order-1-' || n, 'w', 'pending', '{}', 0, now(), now()"
        " FROM generate_series(1, 100) AS n".encode()
    )
    answer = act(browser, f"/actions/cancel?id={run}")
    assert notice(answer) == "The run is canceled."


def test_children_may_be_spared(browser: TestClient, tables: Tables) -> None:
    run = tables.parked()
    child = tables.child(run, worker_id=None)
    act(browser, f"/actions/cancel?id={run}", children=None)
    assert tables.fetch(run)["status"] == "canceled"
    assert tables.fetch(child)["status"] == "running"


def test_a_form_that_is_sent_twice_is_performed_once(browser: TestClient, tables: Tables) -> None:
    run = tables.run(status="failed", worker_id=None)
    form = forms(browser.get(f"/actions/retry?id={run}"))[0]
    first = send(browser, form)
    tables.update("workflow_runs", run, status="failed")  # it has failed again
    second = send(browser, form)
    assert second.headers["location"] == first.headers["location"]
    assert notice(follow(browser, second)) == "The run is put back, due now."
    assert tables.fetch(run)["status"] == "failed"
    assert len(entries(tables)) == 1
    assert tables.count("owsuper_audit_outcomes") == 1


def test_a_run_goes_back_to_a_step(browser: TestClient, tables: Tables) -> None:
    run = tables.run(status="completed", worker_id=None, available_at=None)
    tables.step(run, step_name="charge", status="completed", output="paid")
    page = browser.get(f"/actions/retry?id={run}")
    assert "it can only go back to a step" in page.text
    form = forms(page)[0]
    assert "it has no step" in notice(follow(browser, send(browser, form, from_step="x")))
    answer = act(browser, f"/actions/retry?id={run}", from_step="charge")
    assert notice(answer) == "The run is put back, due now."
    assert tables.fetch(run)["status"] == "pending"
    assert entries(tables)[-1]["arguments"] == {"from_step": "charge"}
    shown = browser.get(f"/runs/{run}").text
    assert "retried by a client from" in shown
    assert "after it was completed" in shown
    assert "set aside when the run was retried" in shown
    assert "paid" in shown


def test_a_run_that_has_ended_meanwhile_refuses(
    browser: TestClient, tables: Tables, rows: Rows
) -> None:
    run = tables.parked()
    form = forms(browser.get(f"/actions/cancel?id={run}"))[0]
    rows.end(run)
    answer = follow(browser, send(browser, form))
    assert "completed" in notice(answer)
    assert tables.fetch(run)["status"] == "completed"


def test_a_run_that_is_gone_meanwhile_is_told(
    browser: TestClient, tables: Tables, rows: Rows
) -> None:
    run = tables.parked()
    form = forms(browser.get(f"/actions/cancel?id={run}"))[0]
    rows.delete(run)
    assert "does not exist" in notice(follow(browser, send(browser, form)))
    assert browser.get(f"/actions/cancel?id={run}").status_code == 404


def test_a_run_is_started_again_with_its_input_once(browser: TestClient, tables: Tables) -> None:
    run = tables.run(status="failed", worker_id=None, input={"a": [1]}, available_at=None)
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_run_attributes'
        " (namespace_id, workflow_run_id, name, value, run_created_at)"
        " VALUES ('default', $1, 't', '7', now())",
        [run],
    )
    page = browser.get(f"/actions/rerun?id={run}")
    assert "the same input and attributes" in page.text
    form = forms(page)[0]
    answers = [follow(browser, send(browser, form)) for _ in range(2)]
    assert [notice(each) for each in answers] == 2 * ["A new run repeats this one."]
    [new] = tables.rows("workflow_runs", f"id <> '{run}'")
    assert tables.count("owsuper_run_attributes") == 2
    assert new["input"] == {"a": [1]}
    assert new["id"] in answers[0].text
    refused = act(browser, f"/actions/rerun?id={run}", from_step="missing")
    assert "missing" in notice(refused)


@pytest.mark.parametrize(
    "path",
    [
        "cancel",
        "cancel?id=",
        "cancel?all=1&until=yesterday",
        "cancel?all=1&until=9999-12-31T23:59:59-23:59",
        "cancel?all=1&until=0001-01-01T00:00:00%2B23:59",
        "cancel?all=1&match=status%3Dodd",
        "rerun",
        "rerun?all=1",
        "rerun?id=a&id=b",
    ],
)
def test_what_chooses_no_runs_is_told(path: str, browser: TestClient) -> None:
    assert browser.get(f"/actions/{path}").status_code == 400


def test_one_run_is_started_again_at_a_time(browser: TestClient, tables: Tables) -> None:
    run = tables.run(status="failed", worker_id=None, available_at=None)
    form = forms(browser.get(f"/actions/rerun?id={run}"))[0]
    answer = send(browser, form, all="1")
    assert answer.status_code == 400
    assert "one run can be started again at a time" in answer.text
    assert tables.count("owsuper_audit") == 0


def test_a_role_that_may_only_read_shows_pages_and_does_nothing(
    tables: Tables, limited_url: str, schema: str
) -> None:
    role = conninfo_to_dict(limited_url)["user"]
    run = tables.parked()
    with closing(OpenWorkflow(limited_url, schema=schema)) as ow:
        browser = TestClient(
            ow.dashboard(insecure=True, allow_actions=True), follow_redirects=False
        )
        refused = browser.get("/runs")
        assert (refused.status_code, "The database refuses" in refused.text) == (503, True)
        assert "http-equiv" not in refused.text  # it does not come back by itself
        tables.conn.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO {role}'.encode())
        tables.conn.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO {role}'.encode())
        for path in ("/", "/runs", f"/runs/{run}", "/workers", "/workflows", "/waiting", "/audit"):
            assert browser.get(path).status_code == 200, path
        answer = send(browser, forms(browser.get(f"/actions/cancel?id={run}"))[0])
        assert answer.status_code == 503
        assert "does not let this dashboard write, so nothing was done" in answer.text
    assert tables.fetch(run)["status"] == "running"


# --- forms that are not ours --------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "forged", None])
def test_a_form_without_our_token_does_nothing(
    token: str | None, browser: TestClient, tables: Tables
) -> None:
    run = tables.parked()
    form = forms(browser.get(f"/actions/cancel?id={run}"))[0]
    assert send(browser, form, token=token).status_code == 403
    assert tables.fetch(run)["status"] == "running"
    assert entries(tables) == []


def test_a_form_of_another_browser_does_nothing(
    browse: Browse, browser: TestClient, tables: Tables
) -> None:
    run = tables.parked()
    form = forms(browser.get(f"/actions/cancel?id={run}"))[0]
    browser.cookies.clear()  # as if its session had expired
    assert send(browser, form).status_code == 403
    other = browse(allow_actions=True)
    other.get("/audit")
    assert send(other, form).status_code == 403
    assert entries(tables) == []


def test_a_form_without_an_id_of_its_action_does_nothing(
    browser: TestClient, tables: Tables
) -> None:
    run = tables.parked()
    form = forms(browser.get(f"/actions/cancel?id={run}"))[0]
    for wrong in ("", "x", "'; DROP TABLE"):
        assert send(browser, form, action_id=wrong).status_code == 400
    assert entries(tables) == []


# --- signals ------------------------------------------------------------------------------------


def test_a_signal_reaches_the_run_that_waits_once(browser: TestClient, tables: Tables) -> None:
    run = tables.parked()
    tables.signal_wait(run, "go")
    page = browser.get(f"/actions/signal?signal=go&run={run}")
    assert "It reaches every run that waits for it: now 1." in page.text
    form = forms(page)[0]
    for _ in range(3):
        answer = follow(browser, send(browser, form, json='{"by": "Ada"}'))
        assert notice(answer) == "The signal was sent."
    assert [each["data"] for each in tables.rows("workflow_signals")] == [{"by": "Ada"}]
    [entry] = entries(tables)
    assert entry["target"] == {"run": run, "signal": "go"}
    assert entry["arguments"] == {"data": {"by": "Ada"}, "buffer": False}


def test_a_signal_that_nobody_waits_for_is_dropped_or_kept(
    browser: TestClient, tables: Tables
) -> None:
    answer = act(browser, "/actions/signal", signal="go", json="1")
    assert notice(answer) == "No run waits for this signal, so it was dropped."
    answer = act(browser, "/actions/signal?signal=go", json="1", buffer="1")
    assert notice(answer) == "No run waits for it now. It is kept for the first that will."
    assert [each["data"] for each in tables.rows("owsuper_signals")] == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"json": "{"}, "This is no JSON: line 1, column 2"),
        ({"json": str(2**70)}, "data"),
        ({"signal": ""}, "signal name"),
    ],
)
def test_a_signal_that_cannot_be_sent_is_told_and_keeps_what_was_typed(
    changes: dict[str, str], message: str, browser: TestClient, tables: Tables
) -> None:
    form = forms(browser.get("/actions/signal?signal=go"))[0]
    answer = send(browser, form, **changes)
    assert answer.status_code == 422
    assert message in answer.text
    assert forms(answer)[0].value("json") == changes.get("json", "")
    assert forms(answer)[0].value("action_id") == form.value("action_id")
    assert entries(tables) == []


# --- starting -----------------------------------------------------------------------------------


def test_a_run_is_started_from_json_once(browser: TestClient, tables: Tables) -> None:
    page = browser.get("/actions/start?workflow=mail&version=2")
    assert "does not know the type" in page.text
    form = forms(page)[0]
    for _ in range(2):
        answer = follow(browser, send(browser, form, json='{"to": ["a"]}'))
        assert notice(answer) == "The run is started."
    [run] = tables.rows("workflow_runs")
    assert (run["workflow_name"], run["version"], run["input"]) == ("mail", "2", {"to": ["a"]})


def test_a_form_follows_the_type_of_the_input(
    browse: Browse, ow: OpenWorkflow, tables: Tables
) -> None:
    @ow.workflow
    def double(step: Step, input: int) -> int:
        """Doubles a number."""
        return 2 * input

    browser = browse(allow_actions=True)
    chosen = browser.get("/actions/start").text
    assert "Doubles a number." in chosen
    fields, by_json = forms(browser.get("/actions/start?workflow=double"))
    answer = send(browser, fields, value="seven")
    assert answer.status_code == 422
    assert "is no whole number" in answer.text
    assert forms(answer)[0].value("value") == "seven"
    answer = send(browser, by_json, json='"7"')
    assert answer.status_code == 422
    assert "expected int, got str" in answer.text
    assert entries(tables) == []
    assert notice(follow(browser, send(browser, fields, value="7"))) == "The run is started."
    # JSON may be sent without a check, as a client in another language does.
    form = forms(browser.get("/actions/start?workflow=double"))[1]
    assert notice(follow(browser, send(browser, form, json='"7"', check=None)))
    assert sorted(str(each["input"]) for each in tables.rows("workflow_runs")) == ["7", "7"]


def attributes(tables: Tables) -> dict[str, str]:
    """The attributes of the only run that has any."""
    return {each["name"]: each["value"] for each in tables.rows("owsuper_run_attributes")}


def test_a_run_is_started_with_attributes(browser: TestClient, tables: Tables) -> None:
    typed = "tenant=7\r\n\r\n region = eu=1 \r\n"
    path = "/actions/start?workflow=w"
    page = act(browser, path, json="1", attributes=typed)
    assert notice(page) == "The run is started."
    assert attributes(tables) == {"tenant": "7", "region": "eu=1"}
    [entry] = entries(tables)
    form = forms(browser.get(f"{path}&key={entry['id']}"))[0]
    assert form.value("attributes") == "tenant=7\nregion=eu=1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tenant", "must be a name and a value, such as tenant=7"),
        ("a=1\na=2", "an attribute is given twice"),
        ("=1", "must have 1 to 64 characters"),
        (f"a={'x' * 257}", "the value has 257 characters"),
    ],
)
def test_attributes_that_cannot_be_used_are_told_and_kept_in_the_form(
    given: str, message: str, browser: TestClient, tables: Tables
) -> None:
    form = forms(browser.get("/actions/start?workflow=w"))[0]
    answer = send(browser, form, json="[7]", attributes=given)
    assert answer.status_code == 422
    assert message in answer.text
    form = forms(answer)[0]
    assert (form.value("attributes"), form.value("json")) == (given, "[7]")
    assert entries(tables) == tables.rows("workflow_runs") == []


def test_attributes_are_hidden_and_kept_as_values_are(browse: Browse, tables: Tables) -> None:
    browser = browse(allow_actions=True, hide_values=True)
    path = "/actions/start?workflow=w"
    page = act(browser, path, json="1", attributes="tenant=secret")
    [entry] = entries(tables)
    assert "secret" not in page.text + json.dumps(entry["arguments"])
    again = browser.get(f"{path}&key={entry['id']}")
    assert "What was typed the first time was not kept" in again.text
    assert forms(again)[0].value("attributes") == ""


def test_the_error_of_an_import_is_in_the_log_and_on_no_page(
    browse: Browse,
    ow: OpenWorkflow,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @ow.workflow
    def double(step: Step, input: int) -> int:
        return 2 * step.wait_for_signal("go", type=int).data

    def fail(*_: Any, **__: Any) -> None:
        raise ApplicationFailed("app: no answer at postgres://u:secret@db", "Traceback s3cret")

    monkeypatch.setattr("owsuper.dashboard.known.Registered.refusal", fail)
    browser = browse(allow_actions=True)
    run = tables.parked(workflow_name="double", version=None)
    for page in ("start?workflow=double", f"signal?signal=go&run={run}"):
        caplog.clear()
        answer = send(browser, forms(browser.get(f"/actions/{page}"))[0], value="7")
        assert answer.status_code == 422
        assert "cannot be checked, because the application cannot be imported" in answer.text
        assert "secret" not in answer.text
        assert "u:secret@db" in caplog.text
        assert "Traceback s3cret" in caplog.text
    assert entries(tables) == []


AGAIN: list[tuple[str, dict[str, Any], dict[str, str | None]]] = [
    ("cancel?id={run}", {"children": None}, {"children": None}),
    ("rerun?id={run}", {"from_step": "charge"}, {"from_step": "charge"}),
    ("signal?signal=go", {"json": '{"by":"Ada"}', "buffer": "1"}, {"buffer": "1"}),
]


@pytest.mark.parametrize(("path", "given", "expected"), AGAIN, ids=[each[0] for each in AGAIN])
def test_what_is_asked_for_again_has_what_was_given_the_first_time(
    path: str,
    given: dict[str, Any],
    expected: dict[str, str | None],
    browser: TestClient,
    tables: Tables,
) -> None:
    address = f"/actions/{path.format(run=tables.parked())}"
    act(browser, address, **given)
    [entry] = entries(tables)
    form = forms(browser.get(f"{address}&key={entry['id']}"))[0]
    assert {name: form.value(name) for name in expected} == expected
    if "json" in given:
        assert json.loads(str(form.value("json"))) == json.loads(given["json"])


@pytest.mark.parametrize("hidden", [False, True])
def test_a_value_that_was_not_kept_is_to_be_typed_again(
    hidden: bool, browse: Browse, tables: Tables
) -> None:
    browser = browse(allow_actions=True, hide_values=hidden)
    value = '"secret"' if hidden else json.dumps("x" * 20_000)
    act(browser, "/actions/start?workflow=w", json=value)
    [entry] = entries(tables)
    page = browser.get(f"/actions/start?workflow=w&key={entry['id']}")
    assert "What was typed the first time was not kept" in page.text
    assert forms(page)[0].value("json") == ""


def test_a_key_that_is_made_up_is_refused(browser: TestClient, tables: Tables) -> None:
    run = tables.run(status="completed", worker_id=None, available_at=None)
    act(browser, "/actions/start?workflow=w", json="1")
    [entry] = entries(tables)
    for path in (
        f"/actions/start?workflow=w&key={run}",
        f"/actions/signal?signal=go&key={entry['id']}",  # of another action
        f"/actions/rerun?id={run}&key={entry['id']}",
    ):
        answer = send(browser, forms(browser.get(path))[0], json="7")
        assert answer.status_code == 400
        assert "no such action was asked for before" in answer.text
    assert tables.count("owsuper_audit") == 1


@pytest.mark.parametrize("hidden", [False, True])
def test_the_audit_table_keeps_no_values_that_are_hidden(
    hidden: bool, browse: Browse, tables: Tables
) -> None:
    browser = browse(allow_actions=True, hide_values=hidden)
    page = act(browser, "/actions/start?workflow=w", json='{"card": "4711"}')
    [entry] = entries(tables)
    assert ("4711" in json.dumps(entry["arguments"])) is not hidden
    assert ("4711" in page.text) is not hidden
    # Nor does it show those that another dashboard has kept.
    assert "4711" not in browse(hide_values=True).get(f"/audit/{entry['id']}").text


def test_a_large_input_is_no_part_of_the_audit_table(browser: TestClient, tables: Tables) -> None:
    text = json.dumps("x" * 1_000_000)
    act(browser, "/actions/start?workflow=w", json=text)
    [entry] = entries(tables)
    assert entry["arguments"] == {"input": {"characters": len(text)}}
    [run] = tables.rows("workflow_runs")
    assert len(run["input"]) == 1_000_000


def test_what_is_html_stays_text(browser: TestClient, tables: Tables) -> None:
    evil = "<script>alert(1)</script>"
    tables.signal_wait(tables.parked(workflow_name=evil), evil)
    page = act(browser, "/actions/signal", signal=evil, json=json.dumps(evil))
    for shown in (page, browser.get("/audit"), browser.get("/actions/signal?signal=" + evil)):
        assert evil not in shown.text
        assert "&lt;script&gt;" in shown.text


# --- the list of actions ------------------------------------------------------------------------


def test_actions_are_listed_page_by_page(browser: TestClient, tables: Tables) -> None:
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_audit (namespace_id, id, attempt, asked_at,'
        " action, target) SELECT 'default', n, '', now() + n * interval '1 ms', 'start',"
        " jsonb_build_object('workflow', 'w' || n) FROM generate_series(0, 50) AS n".encode()
    )
    page = browser.get("/audit")
    assert ">w50<" in page.text
    assert ">w0<" not in page.text
    older = re.search(r'href="(/audit\?after=[^"]+)"', page.text)
    assert older
    assert ">w0<" in browser.get(older[1]).text
    assert browser.get("/audit?after=yesterday").status_code == 400
    assert browser.get("/audit/nothing").status_code == 404


# --- workflows ----------------------------------------------------------------------------------


def test_a_workflow_is_paused_and_resumed(
    browser: TestClient, tables: Tables, ow: OpenWorkflow
) -> None:
    tables.pending(workflow_name="report")
    page = browser.get("/workflows").text
    assert "/actions/pause?workflow=report" in page
    answer = act(browser, "/actions/pause?workflow=report", reason="no <paper>")
    assert notice(answer) == "No worker claims runs of it, in any version, until it is resumed."
    [workflow] = ow.list_workflows()
    assert workflow.pause is not None
    assert (workflow.pause.by, workflow.pause.reason) == ("the dashboard", "no <paper>")
    page = browser.get("/workflows").text
    assert "paused" in page
    assert "no &lt;paper&gt;" in page
    assert "/actions/resume?workflow=report" in page
    answer = act(browser, "/actions/resume?workflow=report")
    assert notice(answer) == "Workers claim its runs again."
    assert ow.list_workflows() == []
    assert [each["action"] for each in entries(tables)] == ["pause-workflow", "resume-workflow"]
    again = act(browser, "/actions/resume?workflow=report")
    assert notice(again).startswith("The workflow is not paused.")


@pytest.mark.parametrize("page", ["pause", "resume"])
def test_a_pause_needs_the_name_of_a_workflow(browser: TestClient, page: str) -> None:
    answer = browser.get(f"/actions/{page}")
    assert answer.status_code == 400
    assert "Invalid workflow name" in answer.text


def test_the_page_of_a_run_says_that_its_workflow_is_paused(
    browser: TestClient, tables: Tables, ow: OpenWorkflow
) -> None:
    run = tables.pending(workflow_name="report")
    ow.pause_workflow("report", reason="no paper", by="ada")
    assert "by ada: no paper" in browser.get(f"/runs/{run}").text
