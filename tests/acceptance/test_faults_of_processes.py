"""Processes that stand still, lack memory, or leave others behind when they end."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from owsuper import OpenWorkflow
from tests.acceptance.commands import STARTED
from tests.acceptance.deployment import Deployment, Worker, wait_until_dead
from tests.acceptance.executions import HeldStep
from tests.acceptance.tables import eventually
from tests.fixtures.processes import Program, Spawn, owsuper_command

SLOW = pytest.mark.slow
LEASE = 3.0
LARGE = 400_000  # bytes of an input; several fill the pipe to a child


# --- what steps leave behind -------------------------------------------------------------------

End = Callable[[Deployment, Worker, HeldStep], None]


def kill_child(_: Deployment, _worker: Worker, step: HeldStep) -> None:
    os.kill(step.pid, signal.SIGKILL)


def crash(_: Deployment, _worker: Worker, step: HeldStep) -> None:
    step.command("segfault")


def time_out(_: Deployment, _worker: Worker, step: HeldStep) -> None:
    step.command("spin")


def cancel(deployment: Deployment, _worker: Worker, step: HeldStep) -> None:
    step.command("spin")
    with closing(OpenWorkflow(deployment.url, schema=deployment.schema)) as ow:
        ow.get_run(step.run).cancel()


def use_up(_: Deployment, _worker: Worker, step: HeldStep) -> None:
    """The child has executed as many runs as it may."""
    step.command("go")


def reload(_: Deployment, worker: Worker, step: HeldStep) -> None:
    step.command("go")
    worker.program.signal(signal.SIGHUP)


def drain(_: Deployment, worker: Worker, step: HeldStep) -> None:
    step.command("go")
    worker.program.terminate()


def drain_without_waiting(_: Deployment, worker: Worker, _step: HeldStep) -> None:
    worker.program.terminate()


def kill_supervisor(_: Deployment, worker: Worker, step: HeldStep) -> None:
    step.command("go")
    worker.kill()


@pytest.mark.parametrize(
    "end",
    [
        kill_child,
        time_out,
        drain,
        kill_supervisor,
        *(
            pytest.param(each, marks=SLOW)
            for each in (crash, cancel, use_up, reload, drain_without_waiting)
        ),
    ],
)
def test_processes_that_a_step_has_started_end_with_its_child(
    deployment: Deployment, tmp_path: Path, end: End
) -> None:
    more = {"max_runs_per_child": 2} if end is use_up else {}
    worker = deployment.worker(
        processes=1, concurrency=1, kill_grace="300ms", graceful_timeout="1s", **more
    )
    [starting] = deployment.start("held", {})
    deployment.gate.next().command("start processes")
    deployment.wait_until_ended([starting])
    left = [int(pid) for pid in (tmp_path / STARTED).read_text().split()]
    assert set(left) <= set(worker.program.descendants())

    [last] = deployment.start("held", {"timeout": 1.5} if end is time_out else {})
    step = deployment.gate.next()
    end(deployment, worker, step)
    wait_until_dead([step.pid, *left])
    if end in (drain, drain_without_waiting, kill_supervisor):
        worker.program.wait()
        worker = deployment.worker()
    deployment.gate.answer({}, until=deployment.ended([last]))
    assert deployment.run(last).status == ("canceled" if end is cancel else "completed")
    deployment.check([starting], repeats=0)
    if end is not cancel:
        deployment.check([last], repeats=1)
    worker.stop()


# --- processes that stand still -----------------------------------------------------------------


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@SLOW
@pytest.mark.parametrize("workflow", ["held", "held-async"])
def test_a_child_that_is_stopped_for_three_leases_goes_on_with_its_step(
    deployment: Deployment, workflow: str
) -> None:
    worker = deployment.worker(processes=1, lease="3s")
    [run] = deployment.start(workflow, {})
    step = deployment.gate.next()
    with stopped(step.pid):
        deployment.worker(processes=1, lease="3s", poll_interval="100ms")
        assert deployment.gate.poll(3 * LEASE) is None  # nobody else gets the run
    step.command("go")
    deployment.wait_until_ended([run])
    deployment.check([run])
    worker.stop()


@SLOW
def test_a_child_that_reads_nothing_holds_up_neither_the_supervisor_nor_its_sibling(
    deployment: Deployment,
) -> None:
    """Its pipe is full, with runs in it and beyond it."""
    worker = deployment.worker(processes=2, concurrency=8, lease="3s")
    [first] = deployment.start("held", {})
    step = deployment.gate.next()
    with stopped(step.pid):
        runs = deployment.start("chain", *[{"steps": 2, "text": "x" * LARGE}] * 40)
        done = deployment.query  # the sibling executes its share, then half of all and more
        count = "SELECT count(*) FROM {schema}.workflow_runs WHERE status = 'completed'"
        eventually("the sibling works", lambda: done(count)[0][0] >= len(runs) - 7)
        assert deployment.gate.poll(LEASE * 1.5) is None
        more = deployment.start("chain", *[{"steps": 1}] * 3)
        deployment.wait_until_ended(more)
    step.command("go")
    deployment.wait_until_ended([first, *runs])
    deployment.check([first, *runs, *more])
    worker.stop()
    assert "child died" not in worker.log


# --- memory -------------------------------------------------------------------------------------


class MemoryGroup:
    """A control group with a limit of memory. Raises OSError if there can be none here."""

    def __init__(self, limit: int) -> None:
        v2 = Path("/sys/fs/cgroup")
        v1 = v2 / "memory"
        self._parent = v1 if v1.is_dir() else v2
        name = "memory.limit_in_bytes" if v1.is_dir() else "memory.max"
        self.path = self._parent / f"owsuper-test-{uuid4().hex}"
        self.path.mkdir()
        try:
            (self.path / name).write_text(str(limit))
            if (swap := self.path / "memory.swap.max").exists():
                swap.write_text("0")
        except OSError:
            self.path.rmdir()
            raise

    def close(self) -> None:
        """Remove the group; its processes go into the group above."""
        for pid in (self.path / "cgroup.procs").read_text().split():
            (self._parent / "cgroup.procs").write_text(pid)
        self.path.rmdir()


@pytest.fixture
def memory_group() -> Iterator[MemoryGroup]:
    try:
        group = MemoryGroup(400 << 20)
    except OSError as refused:
        pytest.skip(f"no control group with a limit of memory can be made here: {refused}")
    yield group
    group.close()


@pytest.fixture
def limited_deployment(
    memory_group: MemoryGroup,
    database_url: str,
    schema: str,
    tmp_path: Path,
    deployments: list[Deployment],
    spawn: Spawn,
) -> Deployment:
    """A new schema, and workers in the control group."""

    def start(
        *argv: str | os.PathLike[str],
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Program:
        command = shlex.join([*owsuper_command(), *map(os.fspath, argv)])
        join = f"echo $$ > {memory_group.path}/cgroup.procs; exec {command}"
        return spawn("sh", "-c", join, env=env, cwd=cwd)

    deployments.append(Deployment(database_url, schema, start, tmp_path))
    return deployments[0]


@SLOW
@pytest.mark.parametrize("workflow", ["held", "held-async"])
def test_a_child_that_the_kernel_kills_for_its_memory_is_named_and_others_go_on(
    limited_deployment: Deployment, workflow: str
) -> None:
    deployment = limited_deployment
    worker = deployment.worker(processes=2, concurrency=1, max_crashes=2)
    [greedy] = deployment.start(workflow, {})
    first = deployment.gate.next()
    [other] = deployment.start(workflow, {})
    beside = deployment.gate.next()
    first.command("eat 2000")
    again = deployment.gate.next()
    assert (again.run, again.pid != first.pid) == (greedy, True)
    again.command("eat 2000")
    deployment.wait_until_ended([greedy])
    failed = deployment.run(greedy)
    assert failed.error is not None
    assert failed.error["message"].count("signal SIGKILL, out of memory in step 'held'") == 2
    beside.command("go")
    deployment.wait_until_ended([other])
    deployment.check([other])
    worker.wait_for_log("child died: signal SIGKILL, out of memory", count=2)
    worker.stop()
    assert deployment.leased() == []
