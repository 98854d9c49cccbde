"""Copies of deleted runs: lines that are whole, in files that several processes may share."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from owsuper import OpenWorkflow
from owsuper.errors import ConfigurationError
from owsuper.event_loop import Loop
from owsuper.retention.archive import Archive
from owsuper.retention.archive_thread import ArchiveThread
from owsuper.testing.exported import ExportedHistories
from tests.retention.conftest import Ended


def read(directory: Path) -> list[str]:
    [path] = directory.iterdir()
    return path.read_text().splitlines()


def test_lines_are_added_to_the_file_of_the_day(tmp_path: Path) -> None:
    for lines in (["1", "2"], ["3"]):
        Archive(tmp_path / "a" / "b").write(lines)
    [path] = (tmp_path / "a" / "b").iterdir()
    assert path.read_text() == "1\n2\n3\n"
    assert path.name.startswith("runs-20")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_names_of_new_directories_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.add(os.fstat(descriptor).st_ino))
    Archive(tmp_path / "a" / "b").write(["1"])
    assert {each.stat().st_ino for each in (tmp_path, *tmp_path.rglob("*"))} == flushed


@pytest.mark.parametrize("torn", ['{"torn', "x" * 200_000])
def test_a_line_that_a_crash_cut_off_is_removed(tmp_path: Path, torn: str) -> None:
    Archive(tmp_path).write(["1"])
    [path] = tmp_path.iterdir()
    path.write_text(f"1\n{torn}")
    Archive(tmp_path).write(["2"])
    assert read(tmp_path) == ["1", "2"]
    path.write_text(torn)
    Archive(tmp_path).write(["3"])
    assert read(tmp_path) == ["3"]


def _write_for_ever(directory: Path) -> None:
    archive, number = Archive(directory), 0
    while True:
        archive.write([json.dumps({"n": number, "filler": "x" * 5000})] * 3)
        number += 1


@pytest.mark.slow
def test_two_writers_that_are_killed_leave_whole_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_for_ever, args=(tmp_path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while not any(path.stat().st_size > 200_000 for path in tmp_path.iterdir()):
        assert all(writer.is_alive() for writer in writers)
    for writer in writers:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    Archive(tmp_path).write(['"last"'])
    lines = read(tmp_path)
    assert json.loads(lines.pop()) == "last"
    assert len([json.loads(line) for line in lines]) >= 30


def test_whatever_goes_wrong_in_the_thread_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_self: Archive, _lines: Sequence[str]) -> None:
        raise MemoryError

    monkeypatch.setattr(Archive, "write", write)
    loop, answers = Loop(), list[Exception | None]()
    thread = ArchiveThread(loop, Archive(tmp_path))
    thread.write(["1"], answers.append)
    while not answers:
        loop.turn()
    thread.close()
    loop.close()
    assert isinstance(answers[0], MemoryError)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"archive: .*file/x cannot be made"):
        Archive(tmp_path / "file" / "x")


def test_a_copy_is_a_history_that_can_be_replayed(
    ow: OpenWorkflow, tables: Ended, tmp_path: Path
) -> None:
    parent = tables.ended(31, status="failed", error={"message": "bad"}, input=[1])
    child = tables.ended(40, input={"for": "child"}, output="done")
    tables.step(
        parent,
        step_name="child",
        kind="workflow",
        status="completed",
        output="done",
        child_workflow_run_namespace_id="default",
        child_workflow_run_id=child,
    )
    assert ow.prune_runs("35d", on_delete=Archive(tmp_path / "first").write) == 1
    tables.update("workflow_runs", parent, version="2")
    ow.prune_runs("30d", on_delete=Archive(tmp_path).write)
    [path] = tmp_path.glob("*.jsonl")
    [history] = ExportedHistories().read(path.read_text().splitlines(), "test")
    assert (history.run.id, history.run.version, history.run.input) == (parent, "2", "[1]")
    assert [(step.step_name, step.output) for step in history.attempts] == [("child", "done")]
