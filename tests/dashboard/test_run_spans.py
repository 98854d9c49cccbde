"""What the timeline of a run shows: attempts, pauses, waits, claims, crashes and retries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from owsuper.client.models import Run, RunRetry, StepAttempt
from owsuper.client.post_mortem import PostMortem
from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.dashboard.run_spans import RunStory, spans, whole_axis
from owsuper.dashboard.timeline import Span
from owsuper.stored_error import StoredError

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run(status: RunStatus = RunStatus.RUNNING, **fields: Any) -> Run:
    defaults: dict[str, Any] = {
        "id": "r", "workflow_name": "w", "version": None, "status": status, "attempts": 1,
        "idempotency_key": None, "input": None, "output": None, "error": None, "parent": None,
        "worker_id": "host:1:a", "available_at": at(100), "deadline_at": None,
        "created_at": START, "began_at": at(1), "started_at": at(1), "finished_at": None,
        "updated_at": at(1),
    }  # fmt: skip
    return Run(**{**defaults, **fields})


def attempt(begin: float, end: float | None = None, **fields: Any) -> StepAttempt:
    defaults: dict[str, Any] = {
        "id": f"a{begin:g}", "run_id": "r", "step_name": "charge", "kind": StepKind.FUNCTION,
        "status": StepStatus.RUNNING if end is None else StepStatus.COMPLETED, "context": None,
        "output": None, "error": None, "child_run_id": None, "created_at": at(begin),
        "started_at": at(begin), "finished_at": None if end is None else at(end),
        "retried_at": None,
    }  # fmt: skip
    return StepAttempt(**{**defaults, **fields})


def failed(begin: float, end: float, **fields: Any) -> StepAttempt:
    error = StoredError(name="CardError", message="refused")
    return attempt(begin, end, status=StepStatus.FAILED, error=error, **fields)


def story(*attempts: StepAttempt, of: Run | None = None, now: float = 10, **more: Any) -> RunStory:
    return RunStory(run=of or run(), attempts=attempts, at=at(now), **more)


def found(about: RunStory, label: str) -> list[Span]:
    return [span for span in spans(about) if span.label == label]


def short(found: list[Span]) -> list[tuple[str, str, float, float]]:
    return [(span.kind, span.status, span.begin, span.end) for span in found]


def test_a_run_waits_for_its_first_claim_and_then_runs() -> None:
    done = run(RunStatus.COMPLETED, finished_at=at(5), worker_id=None, available_at=None)
    assert short(found(story(of=done), "the run")) == [
        ("queue", "waiting", 0, 1),
        ("run", "completed", 1, 5),
    ]


def test_a_run_that_no_worker_has_claimed_waits_until_now() -> None:
    new = run(RunStatus.PENDING, began_at=None, started_at=None, worker_id=None, available_at=at(0))
    [span] = spans(story(of=new, now=7))
    assert (span.kind, span.begin, span.end, span.growing) == ("queue", 0, 7, True)


def test_the_running_step_grows_to_the_present() -> None:
    [span] = found(story(attempt(2), now=10), "charge")
    assert (span.status, span.begin, span.end, span.growing) == ("running", 2, 10, True)
    assert span.title == "charge: attempt 1, running"


def test_between_two_attempts_is_a_pause() -> None:
    about = story(failed(1, 2), attempt(5, 6))
    assert short(found(about, "charge")) == [
        ("function", "failed", 1, 2),
        ("pause", "waiting", 2, 5),
        ("function", "completed", 5, 6),
    ]
    first, _, second = found(about, "charge")
    assert first.title == "charge: attempt 1, failed: CardError: refused"
    assert second.title == "charge: attempt 2, completed"


def test_a_retry_that_is_to_come_is_a_pause_that_grows() -> None:
    parked = run(worker_id=None, available_at=at(60))
    pause = found(story(failed(1, 2), of=parked), "charge")[-1]
    assert (pause.kind, pause.begin, pause.end, pause.growing) == ("pause", 2, 10, True)
    assert "failures: 1" in pause.title


def test_messages_of_errors_are_hidden_with_the_values() -> None:
    [span] = found(story(failed(1, 2), hide_values=True), "charge")
    assert span.title == "charge: attempt 1, failed"


def test_waits_say_what_for_and_until_when() -> None:
    until = {"resumeAt": "2026-01-02T00:00:00Z"}
    nap = attempt(2, step_name="nap", kind=StepKind.SLEEP, context=until)
    signal = attempt(3, step_name="ok", kind=StepKind.SIGNAL_WAIT, context={"signal": "approved"})
    child = attempt(4, step_name="child", kind=StepKind.WORKFLOW, child_run_id="c")
    about = story(nap, signal, child, of=run(worker_id=None))
    assert [span.title for span in spans(about) if span.label in ("nap", "ok", "child")] == [
        "nap: sleep, sleeps, until 2026-01-02 00:00:00Z",
        "ok: signal-wait, waits for the signal 'approved'",
        "child: workflow, waits for run c",
    ]
    assert {span.status for span in spans(about) if span.label == "nap"} == {"waiting"}


def test_an_attempt_whose_process_died_is_lost() -> None:
    [first, second] = found(story(attempt(2), attempt(5)), "charge")
    assert (first.status, second.status) == ("lost", "running")
    assert "never ended" in first.title
    [alone] = found(story(attempt(2), of=run(worker_id=None)), "charge")
    assert alone.status == "lost"


def test_a_rerun_shows_kept_steps_at_its_beginning() -> None:
    again = run(rerun_of="old")
    [span] = found(story(attempt(-50, -40), of=again), "charge")
    assert (span.status, span.begin, span.end) == ("kept", 0, 0)
    assert span.title == "charge: attempt 1, kept from run old"


def death(seconds: float, **fields: Any) -> PostMortem:
    defaults: dict[str, Any] = {
        "run_id": "r", "died_at": at(seconds), "cause": "killed by SIGSEGV", "signal": "SIGSEGV",
        "exit_code": None, "out_of_memory": None, "counted": True, "shared_with": 0,
        "step": "charge", "step_seconds": 1.0, "run_seconds": 2.0, "process_seconds": 3.0,
        "cpu_seconds": None, "peak_memory_bytes": None, "host": "host", "pid": 1, "stderr": None,
        "trace": None,
    }  # fmt: skip
    return PostMortem(**{**defaults, **fields})


def test_claims_are_the_present_one_and_those_that_ended_with_a_death() -> None:
    about = story(deaths=[death(4), death(6, counted=False)])
    claim, *crashes = found(about, "claims")
    assert (claim.begin, claim.end, claim.title) == (6, 10, "claims: claimed by host:1:a")
    assert short(crashes) == [("crash", "failed", 2, 4), ("crash", "failed", 4, 6)]
    assert crashes[0].title == "claims: its process died in 'charge': killed by SIGSEGV"
    assert crashes[1].title.endswith("(not counted as a crash)")


def test_a_retry_by_a_client_is_marked() -> None:
    retry = RunRetry(
        retried_at=at(3),
        failed_at=at(2),
        error=StoredError(message="no"),
        status=RunStatus.FAILED,
        from_step=None,
        output=None,
    )
    *_, mark = found(story(retries=[retry]), "the run")
    assert (mark.kind, mark.begin, mark.end) == ("retry", 3, 3)
    assert mark.title == "the run: retried by a client after a failure: no"
    back = replace(retry, status=RunStatus.COMPLETED, from_step="charge", error=None)
    *_, mark = found(story(retries=[back]), "the run")
    assert mark.title == "the run: retried by a client from 'charge' after it was completed"


def test_the_axis_ends_with_the_run_and_has_room_while_it_runs() -> None:
    done = run(RunStatus.COMPLETED, finished_at=at(5), worker_id=None)
    assert whole_axis(story(of=done)).end == 5
    assert 10 < whole_axis(story()).end < 11


def test_a_long_title_is_cut() -> None:
    [span] = found(story(attempt(2, step_name="x" * 500)), "x" * 500)
    assert len(span.title) == 200
