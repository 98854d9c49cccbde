"""Fixtures: a fleet whose children execute the input of a run, and a whole worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from owsuper.core.model import ClaimedRun
from owsuper.event_loop import Loop
from owsuper.ipc.messages import ApplicationLoaded, Finished, LoadFailed, Overdue
from owsuper.settings import Settings
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.exit_status import Evidence
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.signals import SignalInbox
from owsuper.supervisor.template import TemplateProcess
from tests.fixtures.processes import Spawn
from tests.supervisor.worker import FLOWS, Begin, Worker

ROOT = Path(__file__).resolve().parents[2]

# Children that serve no runs but obey their inputs: "finish", "hold", or Python to execute.
APPLICATION = """
import os, selectors, signal, sys, time
from owsuper import OpenWorkflow
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import *
import owsuper.child.main

ow = OpenWorkflow()

@ow.workflow("obey")
def obey(step): ...

def serve(spec):
    flight = FlightRecorder(spec.flight_fd, spec.settings.concurrency)
    frames, busy, draining = FrameBuffer(), {}, False
    spec.sock.sendall(encode(Ready(os.getpid())))
    while not (draining and not busy):
        data = spec.sock.recv(65536)
        if not data:
            break
        for message in frames.feed(data):
            match message:
                case Assign(slot, run):
                    busy[slot] = run
                    order = run.input_json.decode()
                    flight.enter(slot, "obey:" + order[:20])
                    if order == "finish":
                        flight.leave(slot)
                        spec.sock.sendall(encode(Finished(slot, run.run_id, "completed")))
                        del busy[slot]
                    elif order != "hold":
                        exec(order)
                case Drain():
                    draining = True
                case Stop():
                    for slot, run in busy.items():
                        spec.sock.sendall(encode(Finished(slot, run.run_id, "released", 0.0)))
                    busy.clear()
                    draining = True
    os._exit(0)

owsuper.child.main.serve = serve
"""


def run_that(order: str, *, suspect: bool = False) -> HeldRun:
    """A claimed run whose child executes ``order``."""
    now = datetime.now(UTC)
    run = ClaimedRun(
        run_id=str(uuid4()),
        workflow_name="obey",
        version=None,
        worker_id=f"test:{uuid4()}",
        attempts=1,
        input_json=order.encode(),
        input_stored=False,
        created_at=now,
        started_at=now,
        claimed_at=now,
        claim_sent=0.0,
        claim_answered=0.0,
        deadline_at=None,
        first=not suspect,
        suspect=suspect,
    )
    return HeldRun(run, renewed_at=time.monotonic(), placed_at=time.monotonic())


class World:
    """A loop with a template and a fleet in it, and a record of what they reported."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = Loop()
        self.loaded: list[ApplicationLoaded] = []
        self.failed: list[LoadFailed] = []
        self.finished: list[tuple[HeldRun, Finished]] = []
        self.died: list[tuple[Child, Evidence, dict[int, HeldRun], dict[int, str | None]]] = []
        self.stacks: list[tuple[Child, str]] = []
        self.overdue: list[tuple[Child, Overdue]] = []
        self.boot_failures: list[tuple[Child, Evidence, int]] = []
        self.template = TemplateProcess(
            self.loop,
            settings,
            on_loaded=self._on_loaded,
            on_failed=self.failed.append,
            on_forked=lambda message: self.fleet.on_forked(message),
            on_fork_failed=lambda message: self.fleet.on_fork_failed(message),
            on_exited=lambda message: self.fleet.on_exited(message),
            supervisor_id="test",
        )
        self.fleet = Fleet(self.loop, settings, self.template, self, environment={})
        self._inbox = SignalInbox([signal.SIGCHLD], lambda _: self._reap())
        self.loop.add(self._inbox)

    def _on_loaded(self, loaded: ApplicationLoaded) -> None:
        self.loaded.append(loaded)
        self.fleet.fill()

    def on_run_finished(self, child: Child, held: HeldRun, finished: Finished) -> None:
        self.finished.append((held, finished))

    def on_child_died(self, child: Child, evidence: Evidence) -> None:
        steps = {slot: child.steps_in_flight(slot) for slot in child.held}
        self.died.append((child, evidence, dict(child.held), steps))

    def on_stacks(self, child: Child, text: str) -> None:
        self.stacks.append((child, text))

    def on_code_overdue(self, child: Child, overdue: Overdue) -> None:
        self.overdue.append((child, overdue))

    def on_boot_failed(self, child: Child, evidence: Evidence, failures: int) -> None:
        self.boot_failures.append((child, evidence, failures))

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.on_reaped(pid, status, usage.ru_maxrss)

    def on_reaped(self, pid: int, status: int, max_rss_kb: int) -> None:
        if pid == self.template.pid:
            self.template.on_reaped(status)
        else:
            self.fleet.on_reaped(Evidence(pid, status, max_rss_kb))

    def until(self, condition: Callable[[], object], within: float = 60.0) -> None:
        """Turn the loop until ``condition`` is true."""
        deadline = time.monotonic() + within
        ticking = self.loop.timers.add("tick", lambda: None, period=0.01)
        ticking.start()
        while not condition():
            assert time.monotonic() < deadline, self._state()
            self.loop.turn()
        self.loop.timers.drop(ticking)

    def _state(self) -> str:
        return (
            f"timed out; template {self.template.pid}, fleet {list(self.fleet)},"
            f" loaded {self.loaded}, failed {self.failed}, died {self.died}"
        )

    def begin(self) -> None:
        """Start the template and wait until all children are ready."""
        self.template.start()
        self.until(lambda: self.fleet.ready == self.settings.processes)

    def close(self) -> None:
        """Kill everything."""
        self.fleet.kill(signal.SIGKILL)
        self.fleet.drain()
        if len(self.fleet):
            self.until(lambda: not len(self.fleet))
        self.fleet.close()
        self.end_templates()
        self.loop.remove(self._inbox)
        self._inbox.close()
        self.loop.close()

    def end_templates(self) -> None:
        self.template.close()
        self.template.kill()
        self.until(lambda: self.template.pid is None)


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the application with some code before it; change to its directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def write(before: str = "") -> None:
        (tmp_path / "obedient.py").write_text(before + APPLICATION)

    write()
    return write


@pytest.fixture
def make_world(application: object) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []
    base = Settings(modules=("obedient",), processes=2, concurrency=1)

    def make(**changes: object) -> World:
        worlds.append(World(replace(base, **changes)))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def begin(
    tmp_path: Path,
    schema: str,
    database_url: str,
    conn: psycopg.Connection,
    spawn_owsuper: Spawn,
) -> Begin:
    """Start a worker of FLOWS with these options; by default the worker is ready on return."""
    (tmp_path / "flows.py").write_text(FLOWS)

    def begin(
        *options: str, url: str = database_url, ready: bool = True, **environment: str
    ) -> Worker:
        program = spawn_owsuper(
            "--module",
            "flows",
            "--log-level=debug",
            *options,
            env={
                "OWSUPER_DATABASE_URL": url,
                "OWSUPER_SCHEMA": schema,
                "OWSUPER_PROCESSES": "2",
                **environment,
            },
            cwd=tmp_path,
        )
        worker = Worker(program, conn, schema, tmp_path)
        if ready:
            worker.log.wait_for(r": ready: ")
        return worker

    return begin
