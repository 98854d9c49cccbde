"""Lists and runs on a terminal: they fit its width, and a pipe gets everything."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from owsuper import Run, RunParent, RunStatus, StepAttempt, StepKind, StepStatus, StoredError
from owsuper.cli import formatting, listing, show, tables
from owsuper.cli.formatting import Layout, columns_of
from tests.db.rows import Tables
from tests.fixtures.processes import ROOT, owsuper_command

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
IDS = [f"019b7d2e-6c00-7{n:03x}-9a31-4b1c5a6f{n:04x}" for n in range(900)]
LONG = "resize-all-images-of-an-album-and-tell-its-owner"
WIDE = "注文を処理する🎉注文を処理する🎉"
NOISY = "red\x1b[31m \u202e alert"
ERROR = StoredError("the bank at bank.example.com does not answer on port 443", "ConnectionError")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def run(number: int = 0, **changes: Any) -> Run:
    values = dict.fromkeys(each.name for each in fields(Run)) | {
        "id": IDS[number],
        "workflow_name": "order",
        "status": RunStatus.COMPLETED,
        "attempts": 1,
        "created_at": at(-number),
        "began_at": at(5),
        "started_at": at(5),
        "finished_at": at(65),
        "updated_at": NOON,
    }
    return Run(**(values | changes))


def step(number: int, name: str, **changes: Any) -> StepAttempt:
    values = dict.fromkeys(each.name for each in fields(StepAttempt)) | {
        "id": IDS[number],
        "run_id": "r",
        "step_name": name,
        "kind": StepKind.FUNCTION,
        "status": StepStatus.COMPLETED,
        "created_at": at(number),
        "started_at": at(number),
        "finished_at": at(number + 1),
    }
    return StepAttempt(**(values | changes))


MIXED = [
    run(0),
    run(1, workflow_name=LONG, version="2026-11"),
    run(2, workflow_name=WIDE, status=RunStatus.FAILED, error=ERROR),
    run(3, workflow_name=NOISY, status=RunStatus.PENDING, finished_at=None, available_at=at(99)),
    run(4, created_at=NOON - timedelta(days=400)),
]


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 120, 200])
@pytest.mark.parametrize("runs", [MIXED, MIXED[:1], MIXED[1:2], MIXED[2:]], ids=len)
def test_no_line_of_a_list_is_wider_than_the_terminal(width: int, runs: list[Run]) -> None:
    lines = listing.listing(runs, NOON, Layout(width))
    assert len(lines) == len(runs) + 1
    assert max(map(columns_of, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_columns_give_way_by_importance() -> None:
    def headings(width: int) -> list[str]:
        return listing.listing(MIXED, NOON, Layout(width))[0].split()

    assert headings(200) == ["ID", "WORKFLOW", "VERSION", "STATUS", "CREATED", "TOOK"]
    assert headings(80) == ["ID", "WORKFLOW", "STATUS", "CREATED"]  # and the errors
    assert headings(60) == ["ID", "WORKFLOW", "STATUS", "TOOK"]
    assert headings(30) == ["ID", "STATUS"]
    assert headings(10) == ["ID"]


def test_eighty_columns_show_id_workflow_status_time_and_error() -> None:
    assert listing.listing(MIXED[1:3], NOON, Layout(80)) == [
        "ID                  WORKFLOW          STATUS     CREATED",
        "019b7d2e-6c00-7001  resize-all-im...  completed  01-02 11:59Z",
        "019b7d2e-6c00-7002  注文を処理す...   failed     01-02 11:59Z  ConnectionErr...",
    ]


def test_a_time_of_another_year_keeps_its_year() -> None:
    line = listing.listing([MIXED[4], MIXED[2]], NOON, Layout(80))[1]
    assert "  2024-11-28  " in f"{line}  "


def test_an_id_is_cut_to_a_beginning_that_distinguishes_it() -> None:
    twins = [run(id=IDS[0]), run(id=f"{IDS[0][:30]}ffffff")]
    for line, twin in zip(listing.listing(twins, NOON, Layout(50))[1:], twins, strict=True):
        assert twin.id.startswith(shown := line.split()[0])
        assert 31 <= len(shown) < 36


def test_a_list_for_a_pipe_has_whole_ids_and_all_columns() -> None:
    heading, *lines = listing.listing(MIXED * 50, NOON, Layout())
    assert heading.split() == ["ID", "WORKFLOW", "VERSION", "STATUS", "CREATED", "TOOK"]
    assert [line.split()[0] for line in lines] == [each.id for each in MIXED] * 50


@pytest.mark.parametrize("width", [None, 80])
def test_a_full_list_cuts_nothing(width: int | None) -> None:
    text = "\n".join(listing.listing(MIXED, NOON, Layout(width, full=True)))
    for whole in (IDS[1], LONG, WIDE, str(ERROR.message), "2026-11"):
        assert whole in text


def test_a_run_took_the_time_from_its_first_execution_to_its_end() -> None:
    later, unbegun = run(created_at=at(-86400)), run(began_at=None, status=RunStatus.CANCELED)
    assert "  1m 0s" in listing.listing([later], NOON, Layout(80))[1]
    assert listing.listing([later, unbegun], NOON, Layout(100))[2].endswith("Z")


CHILDREN = [run(n, parent=RunParent(run_id=IDS[850], step_name=f"s:{n}")) for n in range(800)]


def test_many_equal_child_runs_fold_on_a_terminal_alone() -> None:
    runs = [*CHILDREN, run(850)]
    lines = listing.listing(runs, NOON, Layout(80))
    assert len(lines) == 5
    assert lines[2] == f"... 798 more child runs of {IDS[850][:18]} ..."
    assert [line.split()[0][:18] for line in lines[1:]] == [
        IDS[0][:18],
        "...",
        IDS[799][:18],
        IDS[850][:18],
    ]
    for layout in (Layout(), Layout(80, full=True)):
        assert len(listing.listing(runs, NOON, layout)) == 802


@pytest.mark.parametrize("width", [20, 40])
def test_what_stands_for_folded_runs_fits_a_narrow_terminal(width: int) -> None:
    lines = listing.listing(CHILDREN, NOON, Layout(width))
    assert lines[2].startswith("... 798 more")
    assert max(map(columns_of, lines)) <= width


def test_child_runs_that_differ_do_not_fold() -> None:
    runs = list(CHILDREN[:20])
    runs[7] = replace(runs[7], status=RunStatus.FAILED, error=ERROR)
    lines = listing.listing(runs, NOON, Layout(80))
    assert [line.split()[0] for line in lines].count("...") == 2
    assert sum("failed" in line for line in lines) == 1
    alone = [replace(each, parent=None) for each in CHILDREN]
    assert len(listing.listing(alone, NOON, Layout(80))) == 801


# --- one run -------------------------------------------------------------------------------------


def details(steps: list[StepAttempt], layout: Layout, **changes: Any) -> list[str]:
    return show.details(run(**changes), steps, [], at(900), layout)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_about_a_run_is_wider_than_the_terminal(width: int) -> None:
    failed = {"status": StepStatus.FAILED, "error": ERROR}
    waits = {"status": StepStatus.RUNNING, "kind": StepKind.SIGNAL_WAIT, "finished_at": None}
    steps = [
        step(0, LONG, **failed),
        step(1, WIDE, **failed),
        step(2, NOISY, **waits, context={"signal": LONG, "timeoutAt": "2027-01-01T00:00:00.000Z"}),
        step(3, "child", kind=StepKind.WORKFLOW, child_run_id=IDS[3]),
    ]
    stack = f"Traceback (most recent call last):\n  {WIDE}\n{'word ' * 60}\n"
    lines = details(
        steps,
        Layout(width),
        workflow_name=LONG * 3,
        status=RunStatus.FAILED,
        input={"text": "long " * 100},
        error=replace(ERROR, stack=stack),
    ) + details(
        steps,
        Layout(width),
        status=RunStatus.RUNNING,
        finished_at=None,
        available_at=at(1000),
    )
    assert max(map(columns_of, lines)) <= width
    assert ERROR.message in " ".join(" ".join(lines).split())  # in full, over several lines


def test_a_long_value_is_shown_in_full_on_request() -> None:
    value = {"text": "x" * 500}
    assert not any("x" * 500 in line for line in details([], Layout(80), input=value))
    for width in (None, 80):
        assert any("x" * 500 in line for line in details([], Layout(width, full=True), input=value))


def test_many_steps_of_one_name_fold_whatever_their_numbers_are() -> None:
    steps = [
        step(n, f"resize:{n}" if n else "resize", kind=StepKind.WORKFLOW, child_run_id=IDS[n])
        for n in range(800)
    ]
    lines = details([step(0, "first"), *steps], Layout(80))
    shown = lines[lines.index("steps, by the time since the run was created:") + 1 :]
    assert len(shown) == 4
    assert shown[2] == "  ... 798 more ..."
    assert len(details(steps, Layout(80, full=True))) > 800


def test_steps_that_ended_and_others_that_run_fold_together() -> None:
    steps = [
        step(n, f"resize:{n}" if n else "resize", status=status)
        for n in range(100)
        for status in [StepStatus.COMPLETED if n % 2 else StepStatus.RUNNING]
    ]
    lines = details(steps, Layout(80), status=RunStatus.RUNNING, finished_at=None)
    assert "  ... 96 more: 48 running, 48 completed ..." in lines
    assert sum(" resize" in line for line in lines) == 4


def test_many_waits_fold() -> None:
    waits = {"status": StepStatus.RUNNING, "kind": StepKind.WORKFLOW, "finished_at": None}
    steps = [step(n, f"resize:{n}", child_run_id=IDS[n], **waits) for n in range(800)]
    parked = {"status": RunStatus.RUNNING, "finished_at": None, "available_at": at(1000)}
    lines = details(steps, Layout(80), **parked)
    assert "... and 798 more waits" in lines
    assert len(lines) < 20


# --- text ----------------------------------------------------------------------------------------


def test_text_is_cut_by_the_columns_that_it_takes() -> None:
    assert formatting.cut("注文注文注文", 9) == "注文注..."
    assert formatting.cut("注文注文", 8) == "注文注文"
    assert formatting.cut("e\u0301" * 8, 8) == "e\u0301" * 8
    assert formatting.cut("abcdef", 2) == ".."
    assert formatting.cut("abcdef", None) == "abcdef"


def test_text_is_wrapped_between_words() -> None:
    assert formatting.wrapped("one two three", 8) == ["one two", "  three"]
    assert formatting.wrapped("  one two three", 9) == ["  one two", "    three"]
    assert formatting.wrapped("注文 注文 x", 7) == ["注文", "  注文", "  x"]
    assert formatting.wrapped("a 0123456789 b", 5) == ["a", "  0123456789", "  b"]
    assert formatting.wrapped("one two", None) == ["one two"]


def test_the_widest_of_equal_columns_is_cut_first() -> None:
    columns = [
        tables.Column(cells=["x" * 30], rank=1, least=5),
        tables.Column(cells=["y" * 12], rank=2, least=5),
    ]
    assert tables.fitted(columns, 34) == [f"{'x' * 17}...  {'y' * 12}"]
    assert tables.fitted(columns, 22) == [f"{'x' * 7}...  {'y' * 7}..."]


# --- a real terminal -----------------------------------------------------------------------------


def _read_all(terminal: int) -> bytes:
    """Read until no process has the other end, and close the terminal."""
    chunks = []
    with suppress(OSError):  # EIO is how a Linux terminal ends
        while chunk := os.read(terminal, 4096):
            chunks.append(chunk)
    os.close(terminal)
    return b"".join(chunks)


def test_the_command_fits_the_terminal_that_it_writes_to(
    conn: psycopg.Connection, schema: str, database_url: str
) -> None:
    rows = Tables(conn, schema)
    rows.run(id=IDS[850], workflow_name=LONG, status="completed")
    for number in range(120):
        rows.child(IDS[850], id=IDS[number], status="completed", created_at=at(number))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema, "PYTHONPATH": str(ROOT)}
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        [*owsuper_command(), "runs", "list", "--limit", "50"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=inherited | env,
    ) as program:
        os.close(theirs)
        _, messages = program.communicate(timeout=60)
    lines = _read_all(ours).decode().splitlines()
    assert (program.returncode, messages) == (0, b"")
    assert len(lines) == 5
    assert max(map(len, lines)) <= 70
    assert lines[3].startswith("... 118 more child runs of ")
