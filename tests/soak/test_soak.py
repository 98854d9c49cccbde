"""The soak repeats its faults by their seed, and its verdict finds what is wrong."""

from __future__ import annotations

import random
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.deployment import Deployment
from tests.acceptance.executions import Execution
from tests.acceptance.tables import Tables
from tests.soak import verdict
from tests.soak.__main__ import parse_arguments, plan
from tests.soak.faults import FAULTS
from tests.soak.load import Load
from tests.soak.verdict import judge, settle


def test_a_seed_repeats_its_faults() -> None:
    names = list(FAULTS)
    first, again = (
        [plan(rng, names) for _ in range(50)] for rng in (random.Random(7), random.Random(7))
    )
    assert first == again
    assert first != [plan(random.Random(8), names) for _ in range(50)]
    struck = {name for strike in first for name, _ in strike.faults}
    assert len(struck) > len(FAULTS) * 3 / 4
    assert any(len(strike.faults) == 2 for strike in first)


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--faults", "kill-child,kill-everything"])
    assert "no such fault: kill-everything" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("begun", "claims_lost", "right"),
    [
        ((1.0, 2.0), False, True),
        ((3.0, 2.0), False, False),
        ((3.0, 2.0), True, True),
        ((5.0, 2.0), True, False),
    ],
)
def test_the_verdict_on_two_executions_of_a_step_whose_second_has_the_result(
    begun: tuple[float, float], claims_lost: bool, right: bool
) -> None:
    """The result was committed at 4. The journal has the executions in the order of their times."""
    other, kept = (
        Execution("run", "step", token, pid=1, at=at)
        for token, at in zip(("other", "kept"), begun, strict=True)
    )
    key = ("run", "step")
    executed = {key: sorted([other, kept], key=lambda each: each.at)}
    tables: Any = SimpleNamespace(committed=lambda _runs: {key: 4.0})
    with nullcontext() if right else pytest.raises(AssertionError, match="ran again"):
        Deployment.check_order(tables, executed, {key: "kept"}, claims_lost=claims_lost)
    with pytest.raises(AssertionError, match="ran again"):
        Deployment.check_order(tables, executed, {key: "unknown"}, claims_lost=claims_lost)


def test_the_verdict_finds_runs_that_are_lost_and_steps_that_are_repeated(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Load(Tables(deployment.conninfo, deployment.schema), random.Random(1))
    shape = {"steps": 2, "seconds": 0}
    load.runs["chain"] = deployment.start("chain", shape, shape, shape)
    worker = deployment.worker()
    assert settle(deployment) == []
    assert judge(deployment, load) == []
    worker.stop()

    repeated, failed, stuck = load.runs["chain"]
    deployment.query(
        "UPDATE {schema}.step_attempts SET output = to_jsonb($2::text) WHERE workflow_run_id = $1",
        repeated,
        uuid4().hex,
    )
    [found] = judge(deployment, load)
    assert "ran again after it was committed" in found

    monkeypatch.setattr(verdict, "SETTLE", 0.1)
    change = "UPDATE {schema}.workflow_runs SET status = $2 WHERE id = $1"
    deployment.query(change, failed, "failed")
    deployment.query(change, stuck, "running")
    text = "\n".join(settle(deployment))
    assert f"chain {failed} failed" in text
    assert f"chain {stuck} is stuck: running" in text
    assert repeated not in text
