"""The library audit: what it measures, what it counts, and the demonstration as a whole."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from examples.library_audit import audit, crash, journal
from examples.library_audit.audit import Function
from examples.library_audit.crash import Cost, Crash
from examples.library_audit.journal import Execution, Journal
from tests.fixtures.processes import Spawn

pytestmark = [pytest.mark.slow, pytest.mark.once]

# --- the metrics ---------------------------------------------------------------------------


def measured(text: str) -> audit.Metrics:
    return audit.measure(text.encode())


def complexity(body: str) -> int:
    (function,) = measured(f"def f():\n {body}\n").functions
    return function.complexity


def nesting(text: str) -> int:
    return measured(text).functions[0].nesting


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("return a if b else c", 2),
        ("return a and b and c or d", 4),
        ("for a in b: pass", 2),
        ("while a: pass", 2),
        ("try: pass\n except A: pass\n except B: pass\n finally: pass", 3),
        ("with a: pass", 1),
        ("assert a", 2),
        ("return [a for b in c for a in b if a if b]", 5),
        ("match a:\n  case 1: pass\n  case _: pass", 3),
    ],
)
def test_every_way_to_branch_adds_to_the_complexity(body: str, expected: int) -> None:
    assert complexity(body) == expected


def test_a_function_is_not_charged_for_those_defined_inside_it() -> None:
    text = "class C:\n def f(self):\n  if a: pass\n  def g():\n   if b: pass\n   if c: pass\n"
    assert measured(text).functions == [Function("C.f", 2, 2, 1), Function("C.f.g", 4, 3, 1)]


def test_a_chain_of_elifs_is_as_deep_as_one_if() -> None:
    assert nesting("def f():\n if a: pass\n elif b: pass\n elif c: pass\n else: pass\n") == 1


def test_blocks_in_blocks_are_deeper() -> None:
    assert (
        nesting("def f():\n for a in b:\n  with c:\n   try:\n    if d: pass\n   finally: pass\n")
        == 4
    )


def test_lines_are_code_or_comment_or_blank() -> None:
    metrics = measured('"""A\n\nB."""\n\n# one\nx = 1  # two\n\n# three')
    assert (metrics.lines, metrics.code, metrics.comments, metrics.blank) == (8, 4, 2, 2)


def test_an_empty_module_has_no_lines() -> None:
    assert measured("") == audit.Metrics()


def test_only_top_level_names_of_absolute_imports_count_and_once() -> None:
    text = "import os.path, sys\nfrom os import sep\nfrom . import a\ndef f():\n import re\n"
    assert measured(text).imports == ["os", "re", "sys"]


def test_what_is_no_python_is_reported_not_raised() -> None:
    assert "SyntaxError" in str(measured("def f(:").error)
    assert "SyntaxError" in str(audit.measure(b"# coding: utf-8\nx = '\xff'\n").error)


def test_source_is_read_in_the_encoding_that_it_declares() -> None:
    assert audit.decode(b"# coding: latin-1\r\nx = '\xe4'\r\n") == "# coding: latin-1\nx = 'ä'\n"


def test_the_whole_library_is_there_and_none_of_its_tests() -> None:
    paths = audit.sources(audit.library())
    assert len(paths) > 300
    assert {Path("ast.py"), Path("asyncio/tasks.py")} <= set(paths)
    assert not [path for path in paths if "test" in path.parts or "site-packages" in path.parts]


# --- what was executed ---------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "journal"
    monkeypatch.setenv(journal.VARIABLE, str(path))
    return path


def test_the_journal_tells_finished_executions_from_those_that_go_on(written: Path) -> None:
    reader = Journal(written)
    with journal.execution("read", "a.py"):
        assert [each.ended for each in reader.read()] == [None]
    with pytest.raises(ValueError, match="broken"), journal.execution("read", "a.py"):
        raise ValueError("broken")
    assert [(each.path, each.pid, each.ended is None) for each in reader.read()] == [
        ("a.py", os.getpid(), False),
        ("a.py", os.getpid(), False),
    ]
    reader.close()


def test_a_line_that_is_just_being_written_is_read_when_it_is_whole(written: Path) -> None:
    with journal.execution("read", "a.py"):
        pass
    whole = written.read_bytes()
    for torn in range(len(whole)):
        written.write_bytes(whole[:torn])
        reader = Journal(written)
        assert len(reader.read()) == bool(whole[:torn].count(b"\n"))
        with written.open("ab") as file:
            file.write(whole[torn:])
        (execution,) = reader.read()
        assert execution.ended is not None
        reader.close()


def test_without_a_journal_steps_just_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(journal.VARIABLE, raising=False)
    ran = []
    with journal.execution("read", "a.py"):
        ran.append("a.py")
    assert ran == ["a.py"]


def test_the_cost_of_a_crash_is_the_work_repeated_and_the_time_until_it_is_replaced() -> None:
    interrupted = Execution("analyze", "a.py", 1, 10.0, None)
    executions = [
        Execution("analyze", "b.py", 2, 9.9, 10.6),
        interrupted,
        Execution("analyze", "c.py", 2, 10.7, 10.9),
        Execution("read", "d.py", 3, 10.75, 10.8),
        Execution("analyze", "a.py", 3, 10.8, 10.9),
    ]
    cost = crash.cost(Crash(interrupted, at=10.5), executions)
    assert (cost.repeated, cost.idle, cost.resumed) == pytest.approx((0.5, 0.25, 0.3))
    assert cost.lost == pytest.approx(0.75)
    assert crash.repeats(executions) == {("analyze", "a.py"): 2}


def test_a_crash_after_which_nothing_was_left_to_do_costs_only_what_it_destroyed() -> None:
    interrupted = Execution("analyze", "a.py", 1, 10.0, None)
    assert crash.cost(Crash(interrupted, at=10.5), [interrupted]) == Cost(0.5, None, None)
    assert crash.cost(Crash(interrupted, at=10.5), [interrupted]).lost == 0.5


# --- the demonstration ---------------------------------------------------------------------

DEMO = (sys.executable, "-m", "examples.library_audit")


def test_a_process_is_killed_and_nothing_is_lost_but_the_step_it_was_in(
    spawn: Spawn, tmp_path: Path
) -> None:
    demo = spawn(*DEMO, "--modules", "80", cwd=tmp_path)
    killed = demo.stderr.wait_for(r"^kill -KILL (\d+), in step analyze of (\S+)$", timeout=60)
    assert demo.wait(60) == 0
    demo.end()
    report = demo.stdout.text
    assert f"Process {killed[1]} was killed" in report
    assert re.search(
        r"^80 runs completed in [\d.]+ s; 240 steps stored, 241 executed; ", report, re.M
    )
    assert f"executed twice: 1 (analyze of {killed[2]}); lost to the crash: " in report
    assert re.search(r"^  80 modules, [\d.]+ MB, [\d,]+ lines", report, re.M)
    assert f"pid={killed[1]}" in demo.stderr.text  # the supervisor noticed, too


def test_the_progress_is_plain_lines_where_there_is_no_terminal(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    demo = spawn(*DEMO, "--modules", "5", env=env, cwd=tmp_path)
    assert demo.wait(60) == 0
    demo.end()
    assert "\x1b" not in demo.stderr.text
    assert "[########################] 5 of 5 modules, 15 steps" in demo.stderr.text


def test_an_interrupt_ends_the_audit_and_cancels_what_was_not_begun(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    demo = spawn(*DEMO, env=env, cwd=tmp_path)
    demo.stderr.wait_for(r"^\[.*\] [1-9]\d* of", timeout=60)
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
    counts = demo.stderr.wait_for(r"^([\d,]+) modules were audited, (\d+) canceled\.$")
    assert demo.wait() == 130
    assert int(counts[1]) + int(counts[2]) == len(audit.sources(audit.library()))
    demo.end()
    assert demo.stdout.text == ""
    assert "Traceback" not in demo.stderr.text


def test_an_error_of_the_demonstration_ends_its_worker_and_its_server(
    spawn: Spawn, tmp_path: Path
) -> None:
    demo = spawn(*DEMO, env={"TMPDIR": str(tmp_path)}, cwd=tmp_path)
    demo.stderr.wait_for(r"^\[.*\] [1-9]\d* of", timeout=60)
    (written,) = tmp_path.glob("library-audit-*/journal")
    with written.open("ab", buffering=0) as file:
        file.write(b"not a line of the journal\n")
    assert demo.wait() == 1
    assert "json.decoder.JSONDecodeError" in demo.stderr.text
    deadline = time.monotonic() + 30
    while left := demo.descendants():
        assert time.monotonic() < deadline, left
        time.sleep(0.01)  # orphans can only be polled
    demo.end()


def test_the_dashboard_shows_the_runs_until_the_reader_presses_enter(
    spawn: Spawn, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "keyboard")
    command = f"{shlex.join(DEMO)} --dashboard --modules 5 < keyboard"
    demo = spawn("bash", "-c", command, cwd=tmp_path)
    with (tmp_path / "keyboard").open("w") as keyboard:
        address = demo.stderr.wait_for(r"^The dashboard is at (http\S+)$")[1]
        demo.stderr.wait_for(r"^The dashboard stays at \S+ until you press Enter\.$")
        with urllib.request.urlopen(f"{address}/runs") as page:
            assert "library-audit-" in page.read().decode()  # the namespace
        keyboard.write("\n")
        keyboard.flush()
        assert demo.wait() == 0
    demo.end()
    assert "5 runs completed" in demo.stdout.text


def test_a_dashboard_that_does_not_start_is_answered_in_its_own_words(
    spawn: Spawn, tmp_path: Path
) -> None:
    env = {"OWSUPER_DASHBOARD_HOST": "0.0.0.0"}
    demo = spawn(*DEMO, "--dashboard", "--modules", "5", env=env, cwd=tmp_path)
    assert demo.wait() == 1
    demo.end()
    assert "library audit: error: " in demo.stderr.text
    assert "--insecure" in demo.stderr.text
    assert "Traceback" not in demo.stderr.text


def test_a_wrong_argument_is_answered_by_one_line(spawn: Spawn, tmp_path: Path) -> None:
    demo = spawn(*DEMO, "--processes", "0", cwd=tmp_path)
    assert demo.wait() == 1
    demo.end()
    assert "library audit: error: processes: must be a whole number" in demo.stderr.text
    assert "Traceback" not in demo.stderr.text
