"""A run in the process of a test ends as it would by a worker, with the same steps."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from owsuper import RunHandle, Workflow
from owsuper.errors import RunFailed
from owsuper.testing import InProcessWorker
from tests.testing import programs

pytestmark = pytest.mark.slow

PROGRAMS = 100

Steps = list[tuple[str, str, str, int, Any]]
"""Name, kind, status and attempts of each step, and its result."""


def in_process(workflow: Workflow[Any, Any], program: Any) -> tuple[str, Any, Any, Steps]:
    with InProcessWorker(programs.ow) as worker:
        run_id = worker.start(workflow, program)
        worker.finish(run_id)
        run = worker.read(workflow, run_id)
    steps = [
        (step.name, step.kind.value, step.status.value, step.attempts, _result(step))
        for step in run.steps.values()
    ]
    error = None if run.error is None else (run.error.name, run.error.message)
    return run.status.value, run.output, error, sorted(steps, key=lambda step: step[:1])


def by_worker(handle: RunHandle[Any]) -> tuple[str, Any, Any, Steps]:
    with contextlib.suppress(RunFailed):
        handle.result(timeout="60s")
    run = handle.details()
    steps: dict[str, tuple[str, str, str, int, Any]] = {}
    for each in programs.ow.list_step_attempts(handle.id, limit=1000).items:
        attempts = steps[each.step_name][3] + 1 if each.step_name in steps else 1
        kind, status = each.kind.value, each.status.value
        steps[each.step_name] = (each.step_name, kind, status, attempts, _result(each))
    error = None if run.error is None else (run.error.name, run.error.message)
    return run.status.value, run.output, error, sorted(steps.values(), key=lambda step: step[:1])


def _result(step: Any) -> Any:
    return step.output if step.kind.value == "function" else None


def test_random_programs_end_as_by_a_worker(
    monkeypatch: pytest.MonkeyPatch, database_url: str, schema: str
) -> None:
    monkeypatch.setenv("OWSUPER_DATABASE_URL", database_url)
    monkeypatch.setenv("OWSUPER_SCHEMA", schema)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    cases = []
    for number in range(PROGRAMS):
        program = {"operations": programs.draw(rng), "tag": f"run {number}"}
        cases.append((rng.choice([programs.program_sync, programs.program_async]), program))
    expected = [in_process(workflow, program) for workflow, program in cases]
    assert {status for status, *_ in expected} == {"completed", "failed"}
    with programs.ow.new_worker(processes=2, modules=["tests.testing.programs:ow"]):
        handles = [workflow.run(program) for workflow, program in cases]
        for (workflow, program), handle, ended in zip(cases, handles, expected, strict=True):
            assert by_worker(handle) == ended, f"{workflow.name}: {program}"
    programs.ow.close()
