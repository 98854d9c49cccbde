"""``owsuper runs ...``: data on standard output, messages on standard error, codes for scripts."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from owsuper.db.crashes import CrashedRun, CrashQueries
from tests.cli.running import Result, Run, port
from tests.db.rows import Tables, from_now, perform
from tests.fixtures.processes import Spawn, owsuper_command

Command = Callable[..., Result]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def env(database_url: str, schema: str) -> dict[str, str]:
    return {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}


@pytest.fixture
def runs(owsuper: Run, env: dict[str, str]) -> Command:
    """``owsuper runs`` on the schema of the test."""
    return lambda *argv: owsuper("runs", *argv, env=env)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def failed(tables: Tables, **columns: Any) -> str:
    end = {"status": "failed", "worker_id": None, "available_at": None, "started_at": None}
    return tables.run(**{**end, "error": {"message": "bad"}, "finished_at": from_now(0), **columns})


# --- list ------------------------------------------------------------------------------------


def test_runs_are_listed_in_aligned_columns_newest_first(runs: Command, tables: Tables) -> None:
    tables.run(id="a", workflow_name="greet", status="completed", created_at=NOON,
               started_at=at(60), finished_at=at(90), available_at=None)  # fmt: skip
    failed(tables, id="bbb", workflow_name="a-long-name", version="2", created_at=at(60),
           finished_at=at(60.25), error={"name": "E", "message": "no\n  luck"})  # fmt: skip
    result = runs("list")
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "ID   WORKFLOW     VERSION  STATUS     CREATED                 TOOK",
        "bbb  a-long-name  2        failed     2026-01-02 12:01:00Z          E: no luck",
        "a    greet        -        completed  2026-01-02 12:00:00Z  30.00s",
    ]


def test_what_waits_for_a_limit_is_not_due_in_thousands_of_years(
    runs: Command, tables: Tables
) -> None:
    run = tables.parked(available_at=datetime(9999, 1, 1, tzinfo=UTC))
    assert re.search(r"running .* waits for a limit$", runs("list").stdout, re.M)
    assert not re.search(r"due in|9999", runs("show", run).stdout)


def test_the_list_says_when_a_waiting_run_is_due(runs: Command, tables: Tables) -> None:
    tables.parked(available_at=from_now(2 * 3600 + 90))
    assert re.search(r"running .* due in 2h 1m$", runs("list").stdout, re.M)


def test_filters_leave_out_the_others(runs: Command, tables: Tables) -> None:
    failed(tables, id="a", workflow_name="w")
    failed(tables, id="b", workflow_name="v")
    tables.run(id="c", workflow_name="w")
    listed = runs("list", "--status", "failed", "--workflow", "w").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["ID", "a"]


@pytest.mark.slow
@pytest.mark.once
def test_runs_are_listed_by_time_key_and_parent(runs: Command, tables: Tables) -> None:
    def listed(*argv: str) -> list[str]:
        return [line.split()[0] for line in runs("list", *argv).stdout.splitlines()[1:]]

    parent = tables.run(id="parent", created_at=from_now(-7200), idempotency_key="k")
    tables.child(parent, id="child", created_at=from_now(-600))
    tables.run(id="old", created_at=NOON)
    assert listed("--since", "1h") == ["child"]
    assert listed("--until", "1h", "--since", "2026-01-02T13:00:00+01:00") == ["parent", "old"]
    assert listed("--until", "2026-01-02T12:00:00Z") == []
    assert listed("--key", "k") == ["parent"]
    assert listed("--parent", "parent") == ["child"]
    assert listed("--parent", "parent", "--key", "k") == []
    for wrong in ("2026-01-02T12:00:00", "noon", "-1h"):
        result = runs("list", "--since", wrong)
        assert result.is_one_error(2), result
        assert "--since: " in result.stderr


def test_runs_are_listed_by_attributes_and_show_them(runs: Command, tables: Tables) -> None:
    for name, tenant in (("a", "7"), ("b", "7"), ("c", "8")):
        tables.run(id=name, created_at=NOON)
        tables.describe(name, tenant=tenant, of=f"{name} = x")
    both = ("--attribute", "tenant=7", "--attribute", "of=b = x")
    [run] = json.loads(runs("list", *both, "--json").stdout)["runs"]
    assert (run["id"], run["attributes"]) == ("b", {"tenant": "7", "of": "b = x"})
    assert len(json.loads(runs("list", "--attribute", "tenant=7", "--json").stdout)["runs"]) == 2
    assert re.search("attributes +of=b = x, tenant=7", runs("show", "b").stdout)
    shown = json.loads(runs("show", "b", "--json").stdout)
    assert shown["run"]["attributes"] == run["attributes"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["tenant"], "--attribute: 'tenant' must be a name and a value, such as tenant=7"),
        (["=7"], "--attribute: the name '' must have 1 to 64 characters"),
        (["a=1", "a=2"], "--attribute: 'a' is given more than once"),
        (["a=" + "x" * 257], "--attribute['a']: the value has 257 characters"),
    ],
)
def test_an_attribute_that_is_none_is_a_usage_error(
    typed: list[str], message: str, runs: Command
) -> None:
    result = runs("list", *(word for each in typed for word in ("--attribute", each)))
    assert result.code == 2
    assert message in result.stderr


def test_a_child_run_shows_its_parent_and_the_step_there(runs: Command, tables: Tables) -> None:
    parent = tables.run()
    child = tables.child_of_step(tables.step(parent, kind="workflow", step_name="mail:1"))
    assert re.search(f"^parent +{parent}, step 'mail:1'$", runs("show", child).stdout, re.M)
    document = json.loads(runs("show", child, "--json").stdout)
    assert document["run"]["parent"] == {"run_id": parent, "step_name": "mail:1"}
    assert "parent" not in runs("show", parent).stdout


@pytest.mark.slow
@pytest.mark.once
def test_a_retried_run_shows_what_failed_before(runs: Command, tables: Tables) -> None:
    run = failed(tables, created_at=from_now(-90), error={"name": "E", "message": "no luck"})
    times = {"created_at": from_now(-80), "started_at": from_now(-80), "finished_at": from_now(-80)}
    tables.step(run, step_name="charge", status="failed", error={"message": "busy"}, **times)
    runs("retry", run)
    later = {name: from_now(60) for name in times}
    tables.step(run, step_name="charge", status="completed", **later)
    shown = runs("show", run).stdout
    ahead, retry, behind = shown[shown.index("steps,") :].splitlines()[1:]
    assert re.search(r" failed +charge \(attempt 1\) +busy$", ahead)
    assert re.search(r" retry +of the run +E: no luck$", retry)
    assert re.search(r" completed +charge \(attempt 2\)$", behind)
    document = json.loads(runs("show", run, "--json").stdout)
    assert document["retries"][0]["error"] == {"name": "E", "message": "no luck"}
    assert [bool(step["retried_at"]) for step in document["steps"]] == [True, False]


@pytest.mark.slow
@pytest.mark.once
def test_the_failure_of_a_step_limit_shows_what_to_do(runs: Command, tables: Tables) -> None:
    message = "Exceeded the step limit of 1000 attempts (current count: 1000)"
    run = failed(tables, error={"name": "StepLimitExceededError", "message": message})
    assert "Set a higher step_limit= for the workflow" in runs("show", run).stdout
    assert "Set a higher step_limit= for the workflow" in runs("wait", run).stderr


@pytest.mark.slow
@pytest.mark.once
def test_the_cursors_of_other_pages_are_messages(runs: Command, tables: Tables) -> None:
    for number in range(5):
        tables.run(id=f"r{number}", created_at=at(number))
    first = runs("list", "--limit", "2")
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["ID", "r4", "r3"]
    [older] = first.stderr.splitlines()
    assert older.startswith("owsuper: there are older ones: --after ")
    second = runs("list", "--limit", "2", *older.split()[-2:])
    assert [line.split()[0] for line in second.stdout.splitlines()] == ["ID", "r2", "r1"]
    older, newer = second.stderr.splitlines()
    assert newer.startswith("owsuper: there are newer ones: --before ")
    assert runs("list", "--limit", "2", *newer.split()[-2:]).stdout == first.stdout


def test_an_empty_list_is_a_message_with_namespace_and_schema(runs: Command, schema: str) -> None:
    for namespace, argv in (("default", []), ("shop", ["--namespace", "shop"])):
        said = f'owsuper: no such runs (namespace "{namespace}", schema "{schema}")\n'
        assert runs("list", *argv) == Result(0, "", said)


@pytest.mark.slow
@pytest.mark.once
def test_a_list_for_programs_is_one_document(runs: Command, tables: Tables) -> None:
    tables.run(id="a", created_at=NOON, input={"é": 1})
    failed(tables, id="b", created_at=at(1), error={"name": "E", "message": "m", "stack": "s"})
    document = json.loads(runs("list", "--limit", "1", "--json").stdout)
    [run] = document["runs"]
    assert (run["id"], run["status"], run["workflow_name"]) == ("b", "failed", "w")
    assert run["error"] == {"name": "E", "message": "m", "stack": "s"}
    assert run["created_at"] == "2026-01-02T12:00:01Z"
    assert document["previous_cursor"] is None
    rest = json.loads(runs("list", "--json", "--after", document["next_cursor"]).stdout)
    assert [run["input"] for run in rest["runs"]] == [{"é": 1}]
    assert rest["next_cursor"] is None
    assert json.loads(runs("list", "--json", "--status", "canceled").stdout) == {
        "runs": [],
        "next_cursor": None,
        "previous_cursor": None,
    }


def test_names_cannot_command_the_terminal(runs: Command, tables: Tables) -> None:
    tables.run(workflow_name="red\x1b[31m\nalert")
    assert r"red\x1b[31m alert" in runs("list").stdout


# --- show ------------------------------------------------------------------------------------


def test_a_run_is_shown_with_its_steps_as_a_timeline(runs: Command, tables: Tables) -> None:
    run = failed(
        tables,
        id="r",
        workflow_name="order",
        version="2",
        created_at=NOON,
        finished_at=at(65),
        attempts=4,
        input={"n": 7},
        idempotency_key="k",
        error={"name": "CardError", "message": "declined", "stack": "Traceback\n  line\n"},
    )

    def step(began: float, took: float | None, name: str, **columns: Any) -> None:
        times = {"created_at": at(began), "started_at": at(began)}
        end = None if took is None else at(began + took)
        tables.step(run, step_name=name, **times, finished_at=end, **columns)

    step(0.004, 0.012, "reserve", status="completed")
    step(0.02, None, "charge", status="running")
    step(3, 0.5, "charge", status="failed", error={"name": "CardError", "message": "busy"})
    step(4, 60, "cool-off", kind="sleep", status="completed")
    step(64.5, 0.5, "charge", status="failed", error={"name": "CardError", "message": "declined"})
    result = runs("show", "r")
    assert (result.code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:3] == ["run       r", "workflow  order, version 2", "status    failed"]
    assert lines[3].startswith("created   2026-01-02 12:00:00Z, ")
    assert lines[4:9] == [
        "finished  2026-01-02 12:01:05Z, took 1m 5s",
        "claims    4",
        "key       k",
        'input     {"n":7}',
        "error     CardError: declined",
    ]
    assert lines[9:] == [
        "",
        "steps, by the time since the run was created:",
        "    +4ms   12ms  function  completed  reserve",
        "   +20ms      ?  function  running    charge (attempt 1)  never ended: its process"
        " died, or its run ended first",
        "  +3.00s  500ms  function  failed     charge (attempt 2)  CardError: busy",
        "  +4.00s  1m 0s  sleep     completed  cool-off",
        "  +1m 4s  500ms  function  failed     charge (attempt 3)  CardError: declined",
        "",
        "in the worker:",
        "  Traceback",
        "    line",
    ]


def test_a_completed_run_shows_its_output(runs: Command, tables: Tables) -> None:
    tables.run(id="r", status="completed", output=["x" * 200], available_at=None,
               finished_at=from_now(0), error=None)  # fmt: skip
    shown = runs("show", "r").stdout
    assert re.search(r'^output    \["x{95}\.\.\.$', shown, re.M)
    assert "steps" not in shown
    assert "error" not in shown


def test_a_run_that_executes_shows_its_worker_and_the_step_in_flight(
    runs: Command, tables: Tables
) -> None:
    run = tables.run(worker_id="host:1:me", created_at=from_now(-30))
    tables.step(run, step_name="slow", started_at=from_now(-20), created_at=from_now(-20))
    shown = runs("show", run).stdout
    assert re.search(r"^worker +host:1:me$", shown, re.M)
    assert re.search(r"^leased until .* in \d+s$", shown, re.M)
    assert re.search(r"^  \+\d+\.\d\ds  2\d\.\d\ds  function  running  slow  so far$", shown, re.M)
    assert "waits" not in shown


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_parked_run_shows_its_waits_and_their_ends(runs: Command, tables: Tables) -> None:
    run, until = tables.parked(), iso(from_now(3599))
    tables.step(run, step_name="nap", kind="sleep", context={"kind": "sleep", "resumeAt": until})
    context = {"kind": "signal-wait", "signal": "go", "timeoutAt": until}
    tables.step(run, step_name="ask", kind="signal-wait", context=context)
    step = tables.step(run, kind="workflow", context={"kind": "workflow", "timeoutAt": None})
    child = tables.child_of_step(step)
    shown = runs("show", run).stdout
    assert re.search(r"^waits for the end of 'nap', until .*Z \(in 59m \d+s\)$", shown, re.M)
    assert re.search(r"^waits for the signal 'go', until .*Z \(in 59m \d+s\)$", shown, re.M)
    assert f"\nwaits for run {child}\n" in shown
    assert "no worker" not in shown


def test_signals_that_a_step_has_skipped_are_shown_with_the_reason(
    runs: Command, tables: Tables
) -> None:
    run = tables.run(created_at=NOON)
    context = {"kind": "signal-wait", "signal": "go", "timeoutAt": None, "onInvalid": "skip"}
    step = tables.step(run, kind="signal-wait", context=context)
    tables.conn.execute(
        f'WITH sent AS (INSERT INTO "{tables.schema}".workflow_signals (namespace_id, id, signal,'
        " data, workflow_run_id, step_attempt_id) VALUES ('default', 'd', 'go', '{\"by\": 1}', $1,"
        f" 'skipped:d')) INSERT INTO \"{tables.schema}\".owsuper_further_signals (namespace_id,"
        " workflow_run_id, step_attempt_id, id, step_name, reason, created_at, skipped_at)"
        " VALUES ('default', $1, $2, 'd', 's', 'expected str, got int', $3, $4)".encode(),
        [run, step, NOON, at(5)],
    )
    shown = runs("show", run).stdout
    lines = shown[shown.index("signals that were skipped, by the same time:") :].splitlines()
    assert lines[1] == '  +5.00s  go  {"by":1}: expected str, got int'
    [skipped] = json.loads(runs("show", run, "--json").stdout)["skipped_signals"]
    assert (skipped["step_name"], skipped["data"]) == ("s", {"by": 1})
    assert skipped["skipped_at"] == "2026-01-02T12:00:05Z"


def test_deaths_of_its_processes_are_shown_the_last_one_with_what_it_left(
    runs: Command, tables: Tables
) -> None:
    run = tables.run(created_at=from_now(-60))
    queries = CrashQueries(tables.schema, "default")
    for number, cause in enumerate(("exit code 7", "signal SIGKILL, out of memory")):
        evidence = {
            "cause": cause, "step": "resize", "stepSeconds": 2.5, "runSeconds": 3, "pid": 4711,
            "host": "web-1", "sharedWith": number, "processSeconds": 61, "cpuSeconds": 4.2,
            "maxRssKb": 2_000_000, "trace": f"Fatal {number}\n\x1b[2J\n",
            "stderr": "".join(f"line {number}.{n}\n" for n in range(20)),
        }  # fmt: skip
        dead = [CrashedRun(run, "worker", evidence)]
        perform(tables.conn, queries.keep_post_mortems(cause, dead))
    shown = runs("show", run).stdout
    section = shown[shown.index("deaths") :].splitlines()
    assert section[0] == "deaths of its process, by the same time:"
    what = "in step 'resize' after 2.50s, 3.00s into the run; not counted as a crash"
    assert section[1].endswith(f"  exit code 7 {what}")
    process = "    process 4711 on web-1, lived 1m 1s, CPU 4.20s, peak memory 1,953 MiB"
    assert section[2] == process
    assert section[3].endswith(f"  signal SIGKILL, out of memory {what}")
    assert section[4] == f"{process}, other runs in it: 1"
    assert section[5:8] == [
        "    the end of its standard error:",
        "      ... 8 more (--full) ...",
        "      line 1.8",
    ]
    assert section[-3:] == ["    its stacks:", "      Fatal 1", r"      \x1b[2J"]
    full = runs("show", run, "--full").stdout
    assert "line 0.0\n" in full
    assert "line 1.0\n" in full
    document = json.loads(runs("show", run, "--json").stdout)
    assert [death["cause"] for death in document["post_mortems"]] == [
        "exit code 7",
        "signal SIGKILL, out of memory",
    ]


def test_long_names_of_signals_and_steps_are_shown_whole_with_full(
    runs: Command, tables: Tables
) -> None:
    signal, step = "s" * 300, "n" * 300
    run = tables.parked(available_at=from_now(300))
    context = {"kind": "signal-wait", "signal": signal, "timeoutAt": iso(from_now(300))}
    tables.step(run, step_name="wait", kind="signal-wait", context=context)
    context = {"kind": "sleep", "resumeAt": iso(from_now(300))}
    tables.step(run, step_name=step, kind="sleep", context=context)
    assert signal not in runs("show", run).stdout
    shown = runs("show", run, "--full").stdout
    notes, timeline = shown.split("\nsteps, by the time", 1)
    for text in (notes, timeline):
        assert f"waits for the signal '{signal}', until" in text
        assert f"waits for the end of '{step}', until" in text


@pytest.mark.slow
@pytest.mark.once
def test_a_retry_beside_other_waits_is_shown(runs: Command, tables: Tables) -> None:
    run = tables.parked(available_at=from_now(300), error={"name": "E", "message": "m"})
    until = iso(from_now(3599))
    tables.step(run, step_name="nap", kind="sleep", context={"kind": "sleep", "resumeAt": until})
    error = {"message": "busy"}
    for _ in range(2):
        tables.step(run, step_name="charge", status="failed", error=error)
    tables.step(run, step_name="mail", status="failed", error=error)
    tables.step(run, step_name="mail", status="completed")
    tables.step(run, step_name="bad", status="failed", error={**error, "final": True})
    shown = runs("show", run).stdout
    assert re.search(r"^retries 'charge' \(failures: 2\) in [45]m \d+s$", shown, re.M)
    assert "retries 'mail'" not in shown
    assert "retries 'bad'" not in shown
    tables.step(run, step_name="pack", status="failed", error=error)
    shown = runs("show", run).stdout
    assert "\nmay retry 'pack' (failures: 1)\n" in shown
    assert re.search(r"^the first of these retries is due in [45]m \d+s$", shown, re.M)
    tables.update("workflow_runs", run, available_at=from_now(3599))
    shown = runs("show", run).stdout
    assert "\nmay retry 'charge' (failures: 2)\n" in shown
    assert "the first" not in shown


def test_an_error_that_is_cut_is_shown_in_full_below(runs: Command, tables: Tables) -> None:
    long = " ".join(f"reason{number}" for number in range(60))
    error = {"name": "ProcessCrashed", "message": long}
    run = failed(tables, error=error)
    tables.step(run, step_name="die", status="failed", error={"message": f"{long}\nand more"})
    tables.step(run, step_name="same", status="failed", error=error)
    shown = runs("show", run).stdout
    assert f"\n\nthe error in full:\n  ProcessCrashed: {long}\n\n" in shown
    assert shown.endswith(f"\n\nthe error of 'die' in full:\n  {long}\n  and more\n")
    assert "'same' in full" not in shown


def test_a_long_error_that_its_traceback_contains_is_shown_once(
    runs: Command, tables: Tables
) -> None:
    long = "x" * 150
    run = failed(tables, error={"message": long, "stack": f"Traceback\nE: {long}\n"})
    shown = runs("show", run).stdout
    assert shown.count(long) == 1
    assert "in full" not in shown


def test_similar_attempts_are_folded(runs: Command, tables: Tables) -> None:
    run = failed(tables, created_at=NOON)

    def step(began: int, **columns: Any) -> None:
        times = {"created_at": at(began), "started_at": at(began), "finished_at": at(began)}
        tables.step(run, **times, **columns)

    for number in range(20):
        step(number, step_name="charge", status="failed", error={"message": "busy"})
    for number in range(6):
        step(20 + number, step_name="charge", status="failed", error={"message": "closed"})
    shown = runs("show", run).stdout
    steps = shown[shown.index("steps,") :].splitlines()[1:]
    assert steps[:4] == [
        "     +0ms  0ms  function  failed  charge (attempt 1)   busy",
        "  ... 18 more ...",
        "  +19.00s  0ms  function  failed  charge (attempt 20)  busy",
        "  +20.00s  0ms  function  failed  charge (attempt 21)  closed",
    ]
    assert len(steps) == 9
    assert len(json.loads(runs("show", run, "--json").stdout)["steps"]) == 26


def test_a_run_shows_when_it_retries(runs: Command, tables: Tables) -> None:
    run = tables.pending(available_at=from_now(40), error={"name": "E", "message": "m"})
    shown = runs("show", run).stdout
    assert re.search(r"^retries in [34]\ds$", shown, re.M)
    assert re.search(r"^error +earlier: E: m$", shown, re.M)
    shown = runs("show", tables.pending(available_at=from_now(40))).stdout
    assert re.search(r"^due in [34]\ds$", shown, re.M)
    assert re.search(r"^claims +0$", shown, re.M)


@pytest.mark.parametrize(
    ("owner", "since"),
    [(None, "it was due"), ("w", "the lease of its worker ended")],
)
def test_a_run_that_no_worker_claims_is_pointed_out(
    runs: Command, tables: Tables, owner: str | None, since: str
) -> None:
    run = tables.run(available_at=from_now(-301), worker_id=owner)
    pattern = rf"^no worker has claimed this run since {since}, 5m \ds ago\. Check that a worker "
    assert re.search(pattern, runs("show", run).stdout, re.M)
    tables.update("workflow_runs", run, available_at=from_now(0))
    assert "no worker" not in runs("show", run).stdout


def test_a_long_history_is_shown_in_full(runs: Command, tables: Tables) -> None:
    run = tables.run()
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".step_attempts (namespace_id, id, workflow_run_id,'
        " step_name, kind, status, config, created_at, updated_at)"
        " SELECT 'default', n::text, $1, 's' || n, 'function', 'completed', '{}',"
        " now() + n * interval '1 ms', now() FROM generate_series(1, 1002) AS n".encode(),
        [run],
    )
    document = json.loads(runs("show", run, "--json").stdout)
    assert [step["step_name"] for step in document["steps"]] == [f"s{n}" for n in range(1, 1003)]


def test_a_run_for_programs_is_one_document(runs: Command, tables: Tables) -> None:
    run = tables.run(created_at=NOON)
    tables.step(run, step_name="s", status="failed", error={"message": "m"}, created_at=at(1))
    document = json.loads(runs("show", run, "--json").stdout)
    assert document["run"]["id"] == run
    assert document["run"]["created_at"] == "2026-01-02T12:00:00Z"
    [step] = document["steps"]
    assert (step["step_name"], step["run_id"], step["status"]) == ("s", run, "failed")
    assert step["error"] == {"message": "m"}


def test_an_unknown_run_is_one_error(runs: Command) -> None:
    for command in ("show", "wait"):
        result = runs(command, "unknown")
        assert result.is_one_error(1), result
        assert "Workflow run unknown does not exist" in result.stderr
        assert '(namespace "default", schema "' in result.stderr


# --- cancel, retry ---------------------------------------------------------------------------


def test_each_canceled_run_is_a_message(runs: Command, tables: Tables) -> None:
    first, second = tables.run(), tables.pending()
    result = runs("cancel", first, second, first)
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr == f"owsuper: canceled: {first}\nowsuper: canceled: {second}\n"
    assert {row["status"] for row in tables.rows("workflow_runs")} == {"canceled"}


def test_children_are_canceled_on_request(runs: Command, tables: Tables) -> None:
    parent = tables.run()
    child = tables.child(parent)
    grandchild = tables.child(child)
    assert runs("cancel", parent).code == 0
    assert tables.fetch(child)["status"] == "running"
    result = runs("cancel", parent, "--children")
    assert (result.code, result.stderr) == (0, f"owsuper: canceled: {parent}\n")
    statuses = {tables.fetch(run)["status"] for run in (parent, child, grandchild)}
    assert statuses == {"canceled"}


@pytest.mark.slow
@pytest.mark.once
def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so(
    runs: Command, tables: Tables
) -> None:
    first = tables.run(
        id="01a224b5-aaaa-7000-8000-000000000001",
        status="completed",
        output=1,
        workflow_name="first",
    )
    second = failed(tables, id="01a224b5-bbbb-7000-8000-000000000002")
    third = tables.run(id="01a224b6", idempotency_key="k")
    tables.child(third, id="7")
    assert re.search("^workflow +first$", runs("show", "01a224b5-a").stdout, re.M)
    assert runs("wait", "01a224b5-a").stdout == "1\n"
    assert runs("retry", "01a224b5-b").stderr == f"owsuper: retried: {second}\n"
    assert runs("list", "--parent", "01a224b6").stdout.splitlines()[1].startswith("7 ")
    result = runs("cancel", "01a224b5", "01a224b6", "9", "--json")
    assert result.code == 1
    document = json.loads(result.stdout)
    assert document["canceled"] == [third]
    assert document["refused"]["01a224b5"] == (
        f"Several runs have an id that begins with '01a224b5': {first}, {second}. Type more of the"
        " id."
    )
    assert "run 9 does not exist" in document["refused"]["9"]


def test_a_run_is_changed_by_the_whole_of_an_id_that_a_program_has_chosen(
    runs: Command, tables: Tables
) -> None:
    failed(tables, id="order-17")
    assert "order-17" in runs("show", "order-1").stdout
    for command in ("cancel", "retry", "wake", "rerun"):
        refused = runs(command, "order-1")
        assert (refused.code, refused.stdout) == (1, "")
        assert refused.stderr.endswith(
            "No run has the id 'order-1'. The id order-17 begins with it: type it whole if you mean"
            " that run.\n"
        )
    assert runs("retry", "order-17").code == 0


def test_an_empty_id_is_refused_and_does_not_mean_the_only_run(
    runs: Command, tables: Tables
) -> None:
    run = tables.run()
    for command in (["cancel", ""], ["show", ""], ["list", "--parent", ""]):
        result = runs(*command)
        assert result.code == 1
        assert "The id of the run is empty" in result.stderr
    assert tables.fetch(run)["status"] == "running"


def test_failed_runs_are_retried(runs: Command, tables: Tables) -> None:
    run = failed(tables)
    result = runs("retry", run)
    assert (result.code, result.stdout, result.stderr) == (0, "", f"owsuper: retried: {run}\n")
    assert tables.fetch(run)["status"] == "pending"


def test_a_run_goes_back_to_a_step(runs: Command, tables: Tables) -> None:
    run = failed(tables, status="canceled", created_at=from_now(-90))
    for place, name in enumerate(("reserve", "charge")):
        at = from_now(place - 60)
        tables.step(run, step_name=name, status="completed", output=name, started_at=at,
                    created_at=at, finished_at=at)  # fmt: skip
    assert "only a failed run can be retried" in runs("retry", run).stderr
    refused = runs("retry", run, "--from", "ship")
    assert (refused.code, refused.stdout) == (1, "")
    assert "it has no step 'ship'. Its steps: 'reserve', 'charge'." in refused.stderr
    assert runs("retry", run, "--from", "").code == 2
    result = runs("retry", run, "--from", "charge")
    assert (result.code, result.stderr) == (0, f"owsuper: retried: {run}\n")
    shown = runs("show", run).stdout
    assert re.search(r" completed +charge +set aside by the retry$", shown, re.M)
    assert re.search(r" retry +of the run, from 'charge' +was canceled$", shown, re.M)
    [retry] = json.loads(runs("show", run, "--json").stdout)["retries"]
    assert (retry["from_step"], retry["status"]) == ("charge", "canceled")


def test_all_runs_that_match_filters_are_retried_or_canceled(runs: Command, tables: Tables) -> None:
    one, late = failed(tables, created_at=NOON), failed(tables, id="late", deadline_at=NOON)
    other = failed(tables, workflow_name="other")
    tables.describe(one, tenant="7")
    result = runs("retry", "--status", "failed", "--attribute", "tenant=7", "--yes")
    assert (result.code, result.stderr) == (0, "owsuper: retried: 1 run\n")
    assert tables.fetch(one)["status"] == "pending"
    result = runs("retry", "--workflow", "w", "--yes", "--json")
    assert result.code == 1
    document = json.loads(result.stdout)
    assert (document["retried"], document["refused"], document["cursor"]) == (0, 1, None)
    assert "deadline" in document["reasons"][late]
    child = tables.child(one)
    result = runs("cancel", "--since", "2000-01-01T00:00Z", "--workflow", "w", "--yes")
    assert (result.code, tables.fetch(child)["status"]) == (0, "canceled")
    result = runs("retry", "--all", "--yes", "--json")
    assert json.loads(result.stdout)["retried"] == 1
    assert tables.fetch(other)["status"] == "pending"


@pytest.mark.parametrize(("answer", "status"), [("n", "failed"), ("", "failed"), ("y", "pending")])
def test_a_terminal_is_asked_before_many_runs_are_changed(
    answer: str, status: str, tables: Tables, env: dict[str, str]
) -> None:
    run, later = failed(tables), failed(tables, created_at=from_now(3600))
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(
            [*owsuper_command(), "runs", "retry", "--workflow", "w"],
            stdin=theirs, env={**os.environ, **env}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Retry 1 run (namespace" in done.stderr
    assert ("nothing was retried" in done.stderr) == (status == "failed")
    assert tables.fetch(run)["status"] == status
    assert tables.fetch(later)["status"] == "failed"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["retry"], "pass the ids of runs, or filters"),
        (["cancel", "id", "--workflow", "w"], "pass ids of runs or filters, not both"),
        (["retry", "id", "--yes"], "pass ids of runs or filters, not both"),
        (["retry", "--workflow", "w"], "pass --yes to retry many runs without a terminal"),
        (["cancel", "--yes"], "all: all pending and running runs"),
        (["retry", "--status", "failed", "--yes"], "all: all failed runs"),
        (["cancel", "--until", "0s", "--yes"], "(on the command line, --all) if you mean that"),
        (["retry", "--status", "completed", "--yes"], "--status: invalid choice: 'completed'"),
        (["cancel", "--since", "soon", "--yes"], "--since: must be a time"),
        (["cancel", "--attribute", "x", "--yes"], "--attribute: 'x' must be a name and a value"),
    ],
)
def test_many_runs_are_not_changed_by_mistake(
    argv: list[str], message: str, runs: Command, tables: Tables
) -> None:
    run, waiting = failed(tables), tables.pending()
    result = runs(*argv)
    assert result.code == 2
    assert message in result.stderr
    assert tables.fetch(run)["status"] == "failed"
    assert tables.fetch(waiting)["status"] == "pending"


def test_a_refusal_is_exit_code_1_and_the_other_runs_are_changed(
    runs: Command, tables: Tables, schema: str
) -> None:
    run, done = failed(tables), tables.run(status="completed")
    result = runs("retry", done, run, "unknown")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"owsuper: error: Cannot retry workflow run {done} with status completed: only a failed"
        " run can be retried",
        f"owsuper: retried: {run}",
        "owsuper: error: Workflow run unknown does not exist"
        f' (namespace "default", schema "{schema}")',
    ]
    result = runs("cancel", done, "--json")
    assert result.code == 1
    refused = f"Cannot cancel workflow run {done} with status completed"
    assert json.loads(result.stdout) == {"canceled": [], "refused": {done: refused}}


def test_changed_runs_are_one_document_for_programs(runs: Command, tables: Tables) -> None:
    run = failed(tables)
    assert json.loads(runs("retry", run, "--json").stdout) == {"retried": [run], "refused": {}}


# --- wait ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.once
def test_the_result_of_a_run_is_printed_as_json(runs: Command, tables: Tables) -> None:
    run = tables.run(status="completed", output={"n": [1, None]})
    assert runs("wait", run) == Result(0, '{"n":[1,null]}\n', "")
    assert json.loads(runs("wait", run, "--json").stdout) == {"id": run, "result": {"n": [1, None]}}
    assert runs("wait", tables.run(status="completed")) == Result(0, "null\n", "")


def test_a_run_without_a_result_is_exit_code_1(runs: Command, tables: Tables) -> None:
    for run, message in (
        (failed(tables), "Workflow w failed: bad"),
        (tables.run(status="canceled"), "Workflow w was canceled"),
    ):
        result = runs("wait", run)
        assert result.is_one_error(1), result
        assert message in result.stderr


def test_a_timeout_ends_the_wait(runs: Command, tables: Tables) -> None:
    result = runs("wait", tables.run(), "--timeout", "0.1")
    assert result.is_one_error(1), result
    assert "Timed out" in result.stderr


def test_a_run_that_nobody_claims_is_a_message_while_waiting(
    spawn_owsuper: Spawn, env: dict[str, str], tables: Tables
) -> None:
    run = tables.pending(available_at=from_now(-60))
    waiting = spawn_owsuper("runs", "wait", run, env=env)
    waiting.stderr.wait_for(rf"^owsuper: nobody has claimed run {run} of w in the \d+s since it")
    assert waiting.stdout.text == ""


@pytest.mark.slow
@pytest.mark.once
def test_programs_get_a_run_without_a_result_as_a_document(runs: Command, tables: Tables) -> None:
    for run, status, error in (
        (failed(tables), "failed", {"message": "bad"}),
        (tables.run(status="canceled"), "canceled", None),
        (tables.run(), "running", None),
    ):
        result = runs("wait", run, "--timeout", "0.1", "--json")
        assert result.code == 1
        assert result.stderr.startswith("owsuper: error: ")
        document = json.loads(result.stdout)
        assert (document["id"], document["status"], document["error"]) == (run, status, error)
        assert document == json.loads(runs("show", run, "--json").stdout)["run"]


def test_an_interrupt_ends_waiting_without_a_traceback(
    spawn_owsuper: Spawn, env: dict[str, str], tables: Tables, tmp_path: Path
) -> None:
    run = tables.run()
    program = spawn_owsuper("runs", "wait", run, env=env, cwd=tmp_path)
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
        f" 'owsuper: client {program.pid} results'"
    )
    while tables.conn.execute(waits.encode()).fetchone() == (0,):
        assert program.running
    program.signal(signal.SIGINT)
    assert program.wait() == 130
    program.end()
    assert (program.stdout.text, program.stderr.text) == ("", "")


# --- count -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.once
def test_runs_are_counted_by_status(runs: Command, tables: Tables) -> None:
    for status in ("pending", "sleeping", "running", "failed"):
        tables.run(status=status)
    for _ in range(11):
        tables.run(status="completed")
    assert runs("count").stdout.splitlines() == [
        "pending     1",
        "running     2",
        "completed  11",
        "failed      1",
        "canceled    0",
    ]
    assert json.loads(runs("count", "--json").stdout) == {
        "pending": 1,
        "running": 2,
        "completed": 11,
        "failed": 1,
        "canceled": 0,
    }
    assert runs("count", "--namespace", "empty").stdout.startswith("pending    0\n")


# --- all of them -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("command", ["list", "count", "show r", "wait r", "cancel r", "retry r"])
def test_an_unreachable_database_is_exit_code_4(command: str, owsuper: Run) -> None:
    with port(listening=False) as closed:
        url = f"postgresql://app:s3cret@127.0.0.1:{closed}/app"
        result = owsuper("runs", *command.split(), "--database-url", url)
    assert result.is_one_error(4), result
    assert "s3cret" not in result.stderr


def test_a_reader_that_closes_the_pipe_is_no_error(
    spawn: Spawn, env: dict[str, str], tables: Tables, tmp_path: Path
) -> None:
    for _ in range(3):
        tables.run(input="x" * 100_000)
    command = shlex.join(owsuper_command())
    pipe = f'({command} runs list --json; echo "code $?" >&2) | head -c 10'
    program = spawn("sh", "-c", pipe, env=env, cwd=tmp_path)
    assert program.wait() == 0
    program.end()
    assert program.stdout.text == '{"runs":[{'
    assert program.stderr.text == "code 141\n"


def test_an_output_encoding_without_a_character_is_no_error(
    owsuper: Run, env: dict[str, str], tables: Tables
) -> None:
    tables.run(workflow_name="größe 注文")
    ascii_only = {**env, "PYTHONIOENCODING": "ascii"}
    listed = owsuper("runs", "list", env=ascii_only)
    assert (listed.code, listed.stderr) == (0, "")
    assert r"gr\xf6\xdfe \u6ce8\u6587" in listed.stdout
    document = json.loads(owsuper("runs", "list", "--json", env=ascii_only).stdout)
    assert [run["workflow_name"] for run in document["runs"]] == ["größe 注文"]


def test_a_full_disk_is_one_error(
    spawn: Spawn, env: dict[str, str], tables: Tables, tmp_path: Path
) -> None:
    tables.run()
    command = f"{shlex.join(owsuper_command())} runs list >/dev/full"
    program = spawn("sh", "-c", command, env=env, cwd=tmp_path)
    assert program.wait() == 1
    program.end()
    said = "owsuper: error: cannot write to standard output: No space left on device\n"
    assert program.stderr.text == said


# --- wake ------------------------------------------------------------------------------------


def test_waking_ends_the_waits_and_reports_what_is_refused(runs: Command, tables: Tables) -> None:
    context = {"kind": "sleep", "resumeAt": "2099-01-01T00:00:00.000Z"}
    run, done = tables.parked(id="w1"), failed(tables, id="w2")
    tables.step(run, step_name="nap", kind="sleep", context=context)
    result = runs("wake", run, done, "--step", "nap")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "owsuper: woken: w1",
        "owsuper: error: Cannot wake workflow run w2 with status failed: only a run that waits can"
        " be woken.",
    ]
    assert tables.fetch(run)["available_at"] <= from_now(0)
    refused = json.loads(runs("wake", run, "--step", "nab", "--json").stdout)
    assert refused["woken"] == []
    assert "Steps that wait: 'nap'" in refused["refused"]["w1"]


# --- undone ----------------------------------------------------------------------------------


def test_a_run_that_is_undone_and_the_one_that_does_it_name_each_other(
    runs: Command, tables: Tables
) -> None:
    run = failed(tables, id="r1", context={"undoneBy": "u1"})
    failed(tables, id="u1", workflow_name="undo:w", context={"undoOf": "r1"})
    gone = failed(tables, id="r2", context={"undoneBy": "u2"})
    assert re.search(r"^undone by +u1, failed$", runs("show", run).stdout, re.M)
    assert re.search(r"^undoes +r1$", runs("show", "u1").stdout, re.M)
    assert re.search(r"^undone by +u2$", runs("show", gone).stdout, re.M)
    assert json.loads(runs("show", run, "--json").stdout)["run"]["undone_by"] == "u1"
    refused = runs("retry", run)
    assert refused.code == 1
    assert "run u1 undoes its steps, so their results hold no longer. Retry that" in refused.stderr
    assert runs("retry", "u1").code == 0
    refused = runs("rerun", "u1")
    assert 'it undoes a run of workflow "w"' in refused.stderr


# --- rerun -----------------------------------------------------------------------------------


def test_an_undo_that_was_done_by_hand_is_skipped(runs: Command, tables: Tables) -> None:
    run = failed(tables, context={"undoneBy": "u"})
    tables.step(run, step_name="charge", status="completed", context={"undo": True})
    undo = failed(tables, id="u", workflow_name="undo:w", context={"undoOf": run})
    tables.step(undo, step_name="undo charge", status="failed", error={"message": "closed"})
    listed = runs("list", "--workflow", "undo:w", "--status", "failed").stdout
    assert undo in listed
    assert re.search(r"failed +undo charge +closed$", runs("show", undo).stdout, re.M)
    refused = runs("skip-undo", undo, "ship")
    assert (refused.code, refused.stdout) == (1, "")
    assert "it has no such undo. Undos that are left: 'charge'." in refused.stderr
    result = runs("skip-undo", undo, "charge", "--reason", "refunded by phone")
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr == "owsuper: skipped the undo of charge; retried: u\n"
    assert tables.fetch(undo)["status"] == "pending"
    shown = runs("show", undo, "--full").stdout
    assert re.search(r"completed +undo charge .*skipped by .+: refunded by phone$", shown, re.M)


def test_a_run_is_repeated_and_both_runs_name_each_other(runs: Command, tables: Tables) -> None:
    run = failed(tables, id="r1", input={"n": 1})
    began = from_now(-60)
    tables.step(run, step_name="a", status="completed", output=1, started_at=began,
                created_at=began, finished_at=began + timedelta(seconds=1))  # fmt: skip
    tables.step(run, step_name="b", status="failed", error={"message": "bad"})
    result = runs("rerun", run, "--from", "b", "--input", '{"n": 2}')
    assert (result.code, result.stderr) == (0, "")
    again = result.stdout.strip()
    assert tables.fetch(again)["input"] == {"n": 2}
    shown = runs("show", again).stdout
    assert re.search(r"^rerun of +r1$", shown, re.M)
    assert re.search(r"^  kept +1\.00s +function +completed +a$", shown, re.M)
    assert re.search(rf"^rerun as +{again}$", runs("show", run).stdout, re.M)
    assert json.loads(runs("rerun", run, "--json").stdout).keys() == {"id"}
    refused = runs("rerun", run, "--from", "c")
    assert (refused.code, refused.stdout) == (1, "")
    assert "it has no step 'c'. Its steps: 'a', 'b'" in refused.stderr
    refused = runs("rerun", again)
    assert "with status pending: it has not ended. Cancel it first" in refused.stderr
