"""What docs/inspecting.md says about runs can be done, and looks as shown."""

from __future__ import annotations

import re
import shutil

import psycopg
import pytest

from tests.client.conftest import eventually
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

INSPECTING = Document("docs/inspecting.md")
INSPECTING.covers("shop")


def begin(sandbox: Sandbox) -> str:
    """A worker serves the shop, and an order has failed; its id."""
    sandbox.write("shop.py", INSPECTING["shop"])
    sandbox.worker("owsuper --processes 1 --module shop.py").stderr.wait_for("ready: ")
    run_id = sandbox.run(INSPECTING["start"]).strip()
    sandbox.env["RUN"] = run_id
    failed = sandbox.start('owsuper runs wait "$RUN"')
    assert failed.wait() == 1
    assert "Workflow order failed: ConnectionError: the bank does not answer" in failed.stderr.text
    return run_id


@INSPECTING.covers("start", "list", "show")
def test_a_run_is_started_listed_and_shown(connected: Sandbox) -> None:
    run_id = begin(connected)
    listed = connected.run(INSPECTING["list"]).splitlines()
    assert listed[1].startswith(run_id)
    assert re.fullmatch(r"failed +1", listed[-2])
    shown = connected.run(INSPECTING["show"]).splitlines()
    pictured = next(each.text for each in INSPECTING.blocks if each.language == "text")
    assert [_shape(line) for line in shown][: len(pictured.splitlines())] == [
        _shape(line) for line in pictured.splitlines()
    ]


def _shape(line: str) -> str:
    """A line without what differs from one run to the next."""
    for varies in (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"[-0-9]+ [:0-9]+Z", r"\d[\d.]*"):
        line = re.sub(varies, "0", line)
    return re.sub(r"0(ms|s|m)( 0s)?", "0", re.sub(r" +", " ", line))


@INSPECTING.covers("why", "why-program")
def test_it_is_said_why_a_run_is_not_running(connected: Sandbox) -> None:
    run_id = begin(connected)
    said = connected.run(INSPECTING["why"]).splitlines()
    assert said[0] == f"run {run_id} of order:"
    assert re.fullmatch(r"  it is failed at [-0-9]+ [:0-9]+Z \(\d+s ago\)", said[1])
    connected.write("why.py", INSPECTING["why-program"])
    assert connected.run('python why.py "$RUN"').startswith("ended it is failed at ")


@INSPECTING.covers("retry")
def test_a_run_is_retried_and_goes_on(connected: Sandbox) -> None:
    begin(connected)
    connected.write("bank-is-open", "")
    assert connected.run(INSPECTING["retry"]) == '"paid"\n'


@INSPECTING.covers("back")
def test_a_run_goes_back_to_a_step(connected: Sandbox) -> None:
    begin(connected)
    connected.write("bank-is-open", "")
    assert connected.run(INSPECTING["back"]) == '"paid"\n'
    shown = connected.run('owsuper runs show "$RUN"')
    assert re.search(r"retry +of the run, from 'reserve'", shown)
    assert re.search(r"completed +reserve \(attempt 2\)", shown)


@INSPECTING.covers("rerun")
def test_a_run_is_repeated_from_a_step_on(connected: Sandbox) -> None:
    begin(connected)
    connected.write("bank-is-open", "")
    again = connected.run(INSPECTING["rerun"]).strip()
    assert connected.run(f"owsuper runs wait {again}") == '"paid"\n'
    shown = connected.run(f"owsuper runs show {again}")
    assert re.search(r"^input +\{\"item\": ?8\}$", shown, re.M)
    assert re.search(r"^ +kept .* reserve", shown, re.M)
    assert f"rerun as  {again}" in connected.run('owsuper runs show "$RUN"')


@INSPECTING.covers("wake")
def test_a_run_that_sleeps_is_woken(
    connected: Sandbox, conn: psycopg.Connection, schema: str
) -> None:
    connected.write(
        "nap.py",
        "from owsuper import OpenWorkflow\now = OpenWorkflow()\n\n@ow.workflow\n"
        "def nap(step):\n    step.sleep('first', '3d')\n    step.sleep('cool-off', '3d')\n",
    )
    connected.worker("owsuper --processes 1 --module nap.py").stderr.wait_for("ready: ")
    connected.env["RUN"] = connected.run("owsuper start nap").strip()
    sleeping = f"SELECT 1 FROM \"{schema}\".step_attempts WHERE step_name = 'first'".encode()
    eventually(lambda: bool(conn.execute(sleeping).fetchall()))  # one that is due is woken, too
    for line in INSPECTING["wake"].splitlines():
        connected.run(f"until {line} 2>/dev/null; do sleep 0.05; done")
    assert connected.run('owsuper runs wait "$RUN"') == "null\n"


@INSPECTING.covers("retry-all", "attempts")
def test_a_program_retries_what_failed_and_lists_attempts(connected: Sandbox) -> None:
    run_id = begin(connected)
    connected.write("attempts.py", INSPECTING["attempts"])
    failed = "charge failed the bank does not answer\n"
    listed = connected.run('python attempts.py "$RUN"')
    assert listed == f"reserve completed \n{failed}{failed}"
    connected.write("bank-is-open", "")
    connected.write("retry_all.py", INSPECTING["retry-all"])
    retried, left = connected.run("python retry_all.py").splitlines()
    assert (retried, left) == (f"{run_id} {{'item': 7}}", "0 left")
    assert connected.run('owsuper runs wait "$RUN"') == '"paid"\n'
    listed = connected.run('python attempts.py "$RUN"')
    assert listed == f"reserve completed \n{failed}{failed}charge completed \n"


@INSPECTING.covers("plural", "many")
def test_all_runs_that_match_are_retried_and_canceled(connected: Sandbox) -> None:
    run_id = begin(connected)
    connected.write("bank-is-open", "")
    connected.write("plural.py", INSPECTING["plural"])
    connected.run("owsuper start nobody --attribute tenant=7")
    assert connected.run("python plural.py") == "1\n1 retried, 0 refused {}\n1 canceled\n"
    assert connected.run(f"owsuper runs wait {run_id}") == '"paid"\n'
    connected.run("owsuper start nobody --attribute tenant=7")
    connected.run(INSPECTING["many"])
    assert '"canceled":2' in connected.run("owsuper runs count --json")


@INSPECTING.covers("filters")
def test_a_program_finds_runs_by_what_it_knows_of_them(connected: Sandbox) -> None:
    run_id = begin(connected)
    connected.write("filters.py", INSPECTING["filters"])
    assert connected.run("python filters.py") == f"{run_id} None\nfailed\n"


@INSPECTING.covers("cancel")
def test_a_run_is_canceled(connected: Sandbox) -> None:
    connected.env["RUN"] = connected.run("owsuper start nobody --at 1h").strip()
    connected.run(INSPECTING["cancel"])
    assert '"canceled":1' in connected.run("owsuper runs count --json")


def test_every_block_of_the_document_is_executed() -> None:
    assert INSPECTING.unexecuted() == []


DEADLY = """
import ctypes, sys
from pathlib import Path

from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()


@ow.workflow("resize")
def resize(step: Step) -> str:
    return step.run("resize", segfault)


def segfault() -> str:
    if Path("mended").exists():
        return "small"
    print("resizing photo 7", file=sys.stderr)
    ctypes.string_at(0)
    raise AssertionError
"""


@INSPECTING.covers("post-mortems", "retry-crashed")
def test_a_run_that_was_given_up_is_looked_at_and_retried(connected: Sandbox) -> None:
    connected.write("deadly.py", DEADLY)
    worker = connected.worker("owsuper --processes 1 --module deadly.py").stderr
    worker.wait_for("ready: ")
    run_id = connected.env["RUN"] = connected.run("owsuper start resize").strip()
    worker.wait_for("it keeps killing its process")
    shown = connected.run(INSPECTING["show"])
    assert re.search(r"^deaths of its process, by the same time:$", shown, re.M)
    assert shown.count("  signal SIGSEGV in step 'resize' after ") == 3
    assert "      Fatal Python error: Segmentation fault\n" in shown
    connected.write("post_mortems.py", INSPECTING["post-mortems"])
    printed = connected.run("python post_mortems.py")
    assert printed.count("signal SIGSEGV resize True\n") == 3
    assert printed.count("resizing photo 7\n") == 3
    connected.write("mended", "")
    if shutil.which("jq") is None:
        pytest.skip("there is no jq on PATH")
    connected.run(INSPECTING["retry-crashed"])
    assert connected.run(f"owsuper runs wait {run_id}") == '"small"\n'
    assert connected.run("owsuper runs list --crashed") == ""
    assert len(connected.run("python post_mortems.py")) == 0
    assert "signal SIGSEGV in step 'resize'" in connected.run(INSPECTING["show"])
