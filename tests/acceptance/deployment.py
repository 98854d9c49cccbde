"""A schema with its workers, and the checks of what they did."""

from __future__ import annotations

import math
import os
import re
import select
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.acceptance.executions import TIMEOUT, Execution, Gate, Journal
from tests.acceptance.step_reports import GATE, PIPE
from tests.acceptance.tables import Tables
from tests.fixtures.processes import Program, Spawn, title

LOAD = float(os.environ.get("OWSUPER_TEST_LOAD", "1"))


def scaled(count: int) -> int:
    """``count`` times OWSUPER_TEST_LOAD, which is 1 by default."""
    return max(1, round(count * LOAD))


def wait_until_dead(pids: Collection[int], *, timeout: float = TIMEOUT) -> None:
    """Wait until all of these processes have ended."""
    deadline = time.monotonic() + timeout
    for pid in pids:
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([process], [], [], left)[0], (
                f"{title(pid)!r} ({pid}) is still running"
            )
        finally:
            os.close(process)


class Worker:
    """A running ``owsuper`` command."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pid = program.pid

    def wait_until_ready(self) -> None:
        self.program.stderr.wait_for(r"ready: ", timeout=TIMEOUT)

    def wait_for_log(self, pattern: str, *, count: int = 1) -> re.Match[str]:
        """Wait until the log has ``count`` lines that match."""
        return self.program.stderr.wait_for(pattern, timeout=TIMEOUT, count=count)

    def wait_until_run_is_lost(self, run_id: str) -> None:
        """Wait until the log says that another worker has the run."""
        self.wait_for_log(rf"run {run_id}(: a write is dropped| was canceled, or another worker)")

    @property
    def log(self) -> str:
        return self.program.stderr.text

    @property
    def was_ready(self) -> bool:
        return "owsuper.supervisor: ready: " in self.log

    def children(self) -> list[int]:
        """The children, without those that have just been forked."""
        pids = self.program.descendants()
        return [pid for pid in pids if title(pid).startswith("owsuper: child ")]

    def processes(self) -> list[int]:
        """The process ids of the supervisor and all processes below it."""
        return [self.pid, *self.program.descendants()]

    def kill(self) -> None:
        """SIGKILL the supervisor alone."""
        self.program.kill()
        self.program.wait()

    def signal_all(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the worker. Fails if it leaves a process behind."""
        processes = self.processes()
        self.program.signal(number)
        assert self.program.wait(TIMEOUT) == 0, self.log
        wait_until_dead(processes)


class Deployment(Tables):
    """A schema and its workers."""

    def __init__(self, url: str, schema: str, spawn: Spawn, directory: Path) -> None:
        super().__init__(url, schema)
        self.url = url  # where workers connect
        self.workers: list[Worker] = []
        self._spawn = spawn
        self._directory = directory
        self._paths = {PIPE: str(directory / "pipe"), GATE: str(directory / "gate")}
        self.journal = Journal(directory / "pipe")
        self.gate = Gate(directory / "gate")

    def close(self) -> None:
        """Close connections and sockets, when all workers are dead."""
        self.gate.close()
        self.journal.close()
        self.disconnect()

    # --- workers -----------------------------------------------------------------------------

    def worker(self, *argv: str, wait: bool = True, **options: object) -> Worker:
        """Start ``owsuper --module tests.acceptance.app``; by default with 2 times 4 slots."""
        given = {"processes": 2, "concurrency": 4, "schema": self.schema} | options
        words = [
            word
            for name, value in given.items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        program = self._spawn(
            "--module",
            "tests.acceptance.app",
            *words,
            *argv,
            env={"OWSUPER_DATABASE_URL": self.url, **self._paths},
            cwd=self._directory,
        )
        worker = Worker(program)
        self.workers.append(worker)
        if wait:
            worker.wait_until_ready()
        return worker

    def wait_until_begun(self, run_ids: Sequence[str], *, timeout: float) -> None:
        """Wait until a step of each of these runs is executed."""
        left = set(run_ids)

        def is_first(execution: Execution) -> bool:
            first = execution.run in left
            left.discard(execution.run)
            return first

        self.journal.wait_for(is_first, count=len(left), timeout=timeout)

    # --- what must hold ----------------------------------------------------------------------

    def check(
        self, run_ids: Sequence[str], *, repeats: int = 0, claims_lost: bool = False
    ) -> list[Execution]:
        """These runs are completed, and no step ran again once its result was committed.

        Executions whose results were never committed may number ``repeats``. For ``claims_lost``
        see ``check_order``. Returns all executions.
        """
        unfinished = [run for run in self.runs(run_ids) if run.status != "completed"]
        assert not unfinished
        recorded = self.recorded(run_ids)
        executed = self.journal.by_step()
        ours = {key: each for key, each in executed.items() if key[0] in set(run_ids)}
        assert recorded.keys() == ours.keys()
        self.check_order(ours, recorded, claims_lost=claims_lost)
        for run in self.runs(run_ids):
            steps = {token for (run_id, _), token in recorded.items() if run_id == run.id}
            assert set(run.output) == steps
            assert len(run.output) == len(steps)
        again = {key: len(each) - 1 for key, each in ours.items() if len(each) > 1}
        assert sum(again.values()) <= repeats, again
        return [each for executions in ours.values() for each in executions]

    def check_order(
        self,
        executed: Mapping[tuple[str, str], Sequence[Execution]],
        recorded: Mapping[tuple[str, str], str],
        *,
        claims_lost: bool,
    ) -> None:
        """No step ran again once its result was committed. All arguments are by (run, step).

        A step returns the token of its execution, so its committed result must be that of its last
        execution. If a crash of the server may have lost claims (``claims_lost``), the worker of
        such a claim may begin a step late, while another worker executes it. Or a crash may lose
        the end of one claim and the whole of the next, so that the first holds again. Then an
        execution after that of the result must at least have begun before the commit.
        """
        committed = self.committed({run for run, _ in executed}) if claims_lost else {}
        for key, executions in executed.items():
            tokens = [each.token for each in executions]
            place = tokens.index(recorded[key]) if recorded[key] in tokens else -1
            late = [
                each for each in executions[place + 1 :] if each.at > committed.get(key, -math.inf)
            ]
            assert place >= 0, f"{key} ran again after it was committed: {tokens}"
            assert not late, f"{key} ran again after it was committed: {executions}"
