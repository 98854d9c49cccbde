"""What the template does for the children of a supervisor that is dead: their stacks."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator

import pytest

from owsuper.child.orphaned_claims import OrphanedClaims
from owsuper.ipc import flight_recorder
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import Fork
from owsuper.settings import Settings

PID = 4711


@pytest.fixture
def claims() -> Iterator[OrphanedClaims]:
    """With a child that has written its stacks."""
    settings = Settings(concurrency=2)
    fd = flight_recorder.create(settings.concurrency)
    recorder = FlightRecorder(fd, settings.concurrency)
    os.lseek(fd, recorder.trace_offset, os.SEEK_SET)
    faulthandler.dump_traceback(fd)
    recorder.close()
    found = OrphanedClaims()
    found.on_forked(PID, Fork(1, settings), fd)
    yield found
    found.finish()


def test_stacks_of_a_child_that_died_just_before_the_supervisor_are_logged(
    claims: OrphanedClaims, caplog: pytest.LogCaptureFixture
) -> None:
    claims.on_reaped(PID)
    assert "stacks" not in caplog.text
    claims.on_supervisor_exited()
    assert f"stacks of process {PID}" in caplog.text


def test_stacks_of_a_child_that_dies_after_the_supervisor_are_logged_once(
    claims: OrphanedClaims, caplog: pytest.LogCaptureFixture
) -> None:
    claims.on_supervisor_exited()
    claims.on_reaped(PID)
    assert caplog.text.count(f"stacks of process {PID}") == 1
