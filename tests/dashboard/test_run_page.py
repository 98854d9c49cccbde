"""The page of a run, by HTTP without a browser."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from owsuper.db.dashboard.run_page import RunPageQueries, ValueLimits
from tests.dashboard.conftest import Browse
from tests.db.rows import Tables, from_now

EVIL = "<script>alert('x')</script>"


def text_of(browser: TestClient, path: str, status: int = 200) -> str:
    answer = browser.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


def test_a_run_is_shown_with_its_facts_steps_and_values(
    browser: TestClient, tables: Tables
) -> None:
    run_id = tables.run(
        workflow_name="send-mail", version="7", input={"to": "ada"}, status="completed",
        output={"sent": True}, worker_id=None, available_at=None, finished_at=from_now(0),
        idempotency_key="mail:7",
    )  # fmt: skip
    tables.step(
        run_id, step_name="fetch", status="completed", output={"user": 7}, finished_at=from_now(0)
    )
    text = text_of(browser, f"/runs/{run_id}")
    for shown in (
        run_id,
        "send-mail",
        "version <bdi>7</bdi>",
        "completed",
        "mail:7",
        "fetch",
        "took",
    ):
        assert shown in text
    assert "&#34;to&#34;: &#34;ada&#34;" in text
    assert "&#34;user&#34;: 7" in text
    assert "<svg" in text
    assert f'data-topics="run:{run_id}"' in text


def test_a_run_that_does_not_exist_has_a_page_that_names_it(browser: TestClient) -> None:
    text = text_of(browser, "/runs/no-such-run", 404)
    assert "no-such-run" in text
    assert "namespace <b><bdi>default</bdi></b>" in text


@pytest.mark.parametrize("run_id", ["%00", "%ed%a0%80", "x" * 3000, "..%2f..%2fetc"])
def test_an_id_that_no_run_can_have_is_not_found(browser: TestClient, run_id: str) -> None:
    assert browser.get(f"/runs/{run_id}").status_code == 404


def test_a_parked_run_says_why_it_does_not_run(browser: TestClient, tables: Tables) -> None:
    run_id = tables.parked(worker_id=None)
    tables.signal_wait(run_id, "approved", step_name="approval")
    text = text_of(browser, f"/runs/{run_id}")
    assert "Why it does not run" in text
    assert "it waits for the signal &#39;approved&#39; in &#39;approval&#39;" in text


def test_a_failed_run_shows_its_error_and_traceback(browser: TestClient, tables: Tables) -> None:
    error = {"name": "CardError", "message": "refused", "stack": "Traceback\n  File x"}
    run_id = tables.run(
        status="failed", error=error, worker_id=None, available_at=None, finished_at=from_now(0)
    )
    text = text_of(browser, f"/runs/{run_id}")
    assert "CardError" in text
    assert "Traceback\n  File x" in text


def test_a_step_that_is_tried_again_says_when(browser: TestClient, tables: Tables) -> None:
    run_id = tables.parked(available_at=from_now(90))
    tables.step(
        run_id, step_name="charge", status="failed", error={"message": "no"},
        finished_at=from_now(-0.5),
    )  # fmt: skip
    text = text_of(browser, f"/runs/{run_id}")
    assert "tried again" in text
    assert "kind-pause" in text


def test_parents_and_children_are_linked(browser: TestClient, tables: Tables) -> None:
    parent = tables.run()
    child = tables.child(parent, workflow_name="below")
    assert f'href="/runs/{child}"' in text_of(browser, f"/runs/{parent}")
    assert f'href="/runs/{parent}"' in text_of(browser, f"/runs/{child}")


def test_what_users_write_is_never_part_of_the_page(browser: TestClient, tables: Tables) -> None:
    error = {"name": EVIL, "message": EVIL, "stack": EVIL}
    run_id = tables.run(
        id='"><img src=x>', workflow_name=EVIL, version=EVIL, input=EVIL, output={EVIL: EVIL},
        error=error, idempotency_key=EVIL, worker_id=EVIL,
    )  # fmt: skip
    tables.step(run_id, step_name=EVIL, status="failed", error=error, finished_at=from_now(0))
    tables.step(run_id, id=EVIL, step_name="'\"", status="completed", output=EVIL)
    answer = browser.get("/runs/%22%3E%3Cimg%20src=x%3E")
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<img" not in answer.text
    assert "style=" not in answer.text


def test_a_large_value_is_folded_and_loaded_on_demand(browser: TestClient, tables: Tables) -> None:
    large = {"text": "x" * 3_000_000, "number": 12345678901234567890.0}
    run_id = tables.run(input=large)
    step = tables.step(run_id, status="completed", output=large, finished_at=from_now(0))
    text = text_of(browser, f"/runs/{run_id}")
    assert len(text) < 40_000
    for path in (f"/runs/{run_id}/values/input", f"/runs/{run_id}/attempts/{step}/output"):
        assert f'href="{path}"' in text
        shown = text_of(browser, path)
        assert "The beginning" in shown
        assert len(shown) < 450_000
        raw = browser.get(f"{path}.json")
        assert raw.headers["content-type"] == "application/json"
        assert raw.json()["text"] == large["text"]


@pytest.mark.parametrize(
    "path", ["values/secret", "values/input.xml", "values/input.", "attempts/x/input"]
)
def test_a_value_that_there_is_not_is_not_found(
    browser: TestClient, tables: Tables, path: str
) -> None:
    assert browser.get(f"/runs/{tables.run(input=1)}/{path}").status_code == 404


def test_a_value_that_a_run_does_not_have_is_not_found(browser: TestClient, tables: Tables) -> None:
    assert browser.get(f"/runs/{tables.run()}/values/output").status_code == 404


def test_hidden_values_are_nowhere(browse: Browse, tables: Tables) -> None:
    secret = "the-secret"
    error = {"name": "CardError", "message": secret, "stack": secret}
    run_id = tables.run(input=secret, output=secret, error=error, context={"a": secret})
    step = tables.step(run_id, status="completed", output=secret, finished_at=from_now(0))
    tables.step(
        run_id, status="failed", error=error, context={"a": secret}, finished_at=from_now(0)
    )
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_post_mortems (namespace_id, workflow_run_id,'
        " crash_id, run_created_at, counted, evidence) VALUES ('default', $1, 'c', now(), true,"
        " $2::jsonb)".encode(),
        [run_id, json.dumps({"cause": "killed", "stderr": secret, "trace": secret})],
    )
    tables.step(run_id, kind="signal-wait", status="completed", finished_at=from_now(0))
    for table, columns in {
        "retries (namespace_id, workflow_run_id, error)": "$2::text::jsonb",
        "progress (namespace_id, workflow_run_id, done, message)": "1, $2::text",
        "log_lines (namespace_id, workflow_run_id, logged_at, level, logger, host, pid, message,"
        " exception, fields)": "now(), 20, 'app', 'h', 1, $2::text, $2::text, $2::text::jsonb",
        "further_signals (namespace_id, workflow_run_id, step_attempt_id, id, skipped_at,"
        " step_name, reason)": "'a', 'sent', now(), 'approval', $2::text",
    }.items():
        insert = f'INSERT INTO "{tables.schema}".owsuper_{table}'
        statement = f"{insert} VALUES ('default', $1, {columns})"
        tables.conn.execute(statement.encode(), [run_id, json.dumps({"message": secret})])
    assert secret in text_of(browse(), f"/runs/{run_id}")
    hiding = browse(hide_values=True)
    text = text_of(hiding, f"/runs/{run_id}")
    assert secret not in text
    assert "hidden (--hide-values)" in text
    assert "CardError" in text
    for path in ("values/input", "values/input.json", f"attempts/{step}/output"):
        answer = hiding.get(f"/runs/{run_id}/{path}")
        assert answer.status_code == 403
        assert secret not in answer.text
    raw = hiding.get(f"/runs/{run_id}/raw.json")
    assert secret not in raw.text
    assert raw.json()["run"]["input"] == "hidden"
    assert len(raw.json()["retries"]) == len(raw.json()["skipped_signals"]) == 1


def test_all_of_a_run_is_one_json_document(browser: TestClient, tables: Tables) -> None:
    run_id = tables.run(input={"n": 1})
    for number in range(45):
        tables.step(
            run_id, status="completed", output={"n": number}, created_at=from_now(number),
            finished_at=from_now(0),
        )  # fmt: skip
    document: Any = browser.get(f"/runs/{run_id}/raw.json").json()
    assert document["run"]["input"] == {"n": 1}
    assert [step["output"]["n"] for step in document["steps"]] == list(range(45))
    assert document["retries"] == document["post_mortems"] == document["skipped_signals"] == []
    assert browser.get("/runs/none/raw.json").status_code == 404


@pytest.mark.parametrize("hide", [False, True])
def test_large_values_of_a_document_are_read_one_by_one(
    hide: bool, browse: Browse, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    attempt_values = RunPageQueries.attempt_values

    def observed(self: Any, run_id: str, ids: Any, names: Any, limits: ValueLimits) -> Any:
        calls.append((len(ids), len(names), limits.stored))
        return attempt_values(self, run_id, ids, names, limits)

    monkeypatch.setattr(RunPageQueries, "attempt_values", observed)
    outputs = ["x" * 1_000_001 if number in (1, 3, 21) else number for number in range(22)]
    run_id = tables.run(input=1)
    for number, output in enumerate(outputs):
        tables.step(
            run_id, status="completed", output=output, created_at=from_now(number),
            finished_at=from_now(0),
        )  # fmt: skip
    document: Any = browse(hide_values=hide).get(f"/runs/{run_id}/raw.json").json()
    if hide:
        assert {step["output"] for step in document["steps"]} == {"hidden"}
        assert {stored for _, _, stored in calls} == {0}  # nor does the database read them
    else:
        assert [step["output"] for step in document["steps"]] == outputs
        pieces, large = [(20, 4), (2, 4)], [(1, 1)] * 3
        assert sorted(each[:2] for each in calls) == sorted(pieces + large)


def test_a_run_of_many_attempts_is_listed_in_pages(browser: TestClient, tables: Tables) -> None:
    run_id = tables.run()
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".step_attempts (namespace_id, id, workflow_run_id,'
        " step_name, kind, status, config, created_at, started_at, finished_at, updated_at)"
        " SELECT 'default', 'a' || n, $1, 'step ' || n, 'function', 'completed', '{}',"
        " now() + n * interval '1 ms', now(), now(), now()"
        " FROM generate_series(1, 10000) AS n".encode(),
        [run_id],
    )
    text = text_of(browser, f"/runs/{run_id}")
    assert "1\N{EN DASH}100 of 10\N{NARROW NO-BREAK SPACE}000" in text
    assert 'id="attempt-100"' in text
    assert 'id="attempt-101"' not in text
    last = text_of(browser, f"/runs/{run_id}?attempts=9900")
    assert 'id="attempt-10000"' in last
    assert 'id="attempt-10000"' in text_of(browser, f"/runs/{run_id}?attempts=500000")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("from=soon", "give seconds since the run was created"),
        ("from=5&to=1", "give a later end"),
        ("attempts=-1", "is no place in a list"),
        ("attempts=" + "9" * 30, "is no place in a list"),
        ("logs=x", "is no place in a list"),
        ("level=loud", "is none of all, info, warning, error"),
    ],
)
def test_a_parameter_that_is_none_is_refused(
    browser: TestClient, tables: Tables, query: str, reason: str
) -> None:
    assert reason in text_of(browser, f"/runs/{tables.run()}?{query}", 400)


def test_log_lines_and_progress_are_shown(
    browser: TestClient, browse: Browse, tables: Tables
) -> None:
    run_id = tables.run()
    url = f"/runs/{run_id}"
    assert 'id="logs"' not in text_of(browser, url)
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_log_lines (namespace_id, workflow_run_id,'
        " logged_at, level, logger, message, exception, step, host, pid) SELECT 'default', $1,"
        " now(), CASE WHEN n = 250 THEN 40 ELSE 20 END, 'app', 'line ' || n || ' <b>', 'Traceback',"
        " 'bake', 'h', 1 FROM generate_series(1, 250) AS n".encode(),
        [run_id],
    )
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_progress (namespace_id, workflow_run_id, done,'
        " total, message) VALUES ('default', $1, 3000000, 10000000, 'baking')".encode(),
        [run_id],
    )
    text = text_of(browser, url)
    assert '<progress max="10000000.0" value="3000000.0">' in text
    assert "3 000 000 of 10 000 000" in text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "baking" in text
    assert "line 250 &lt;b&gt;" in text
    assert "line 51 " in text
    assert "line 50 " not in text
    earlier = re.search(r'href="([^"#]*logs=[0-9]+)#logs">Earlier', text)
    assert earlier is not None
    page = text_of(browser, earlier[1].replace("&amp;", "&"))
    assert "line 50 " in page
    assert "line 51 " not in page
    assert "line 249 " not in text_of(browser, f"{url}?level=error")
    hiding = text_of(browse(hide_values=True), url)
    assert "line 250" not in hiding
    assert "baking" not in hiding


@pytest.mark.parametrize(("most", "more"), [(2, True), (3, False)])
def test_the_json_of_a_run_says_whether_it_has_all_step_attempts(
    most: int, more: bool, browser: TestClient, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = tables.run()
    for number in range(3):
        tables.step(run_id, step_name=f"step {number}")
    monkeypatch.setattr("owsuper.dashboard.raw_run.MAX_ATTEMPTS", most)
    document: Any = browser.get(f"/runs/{run_id}/raw.json").json()
    assert (len(document["steps"]), document["more_steps"]) == (most, more)


def test_the_timeline_zooms_by_links(browser: TestClient, tables: Tables) -> None:
    run_id = tables.run()
    tables.step(run_id, started_at=from_now(-30), created_at=from_now(-30))
    text = text_of(browser, f"/runs/{run_id}")
    assert f"/runs/{run_id}?from=" in text
    zoomed = text_of(browser, f"/runs/{run_id}?from=0&to=0.5")
    assert "bars are before or after this part" in zoomed
    assert "show all" in zoomed
