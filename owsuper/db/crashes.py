"""The statements about deaths of child processes, as data like those of ``db.claims``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from owsuper.db.claims import Call, Rows, text, to_json
from owsuper.db.statement import load


@dataclass(frozen=True, slots=True)
class CrashedRun:
    """A claim that a process held when it died.

    ``evidence`` is plain JSON. Its members ``cause`` (``"signal SIGKILL"``) and ``step`` (the step
    in flight, or None) become part of the run's error message. ``details`` are more of it, which
    only the post-mortem has.
    """

    run_id: str
    worker_id: str
    evidence: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CrashOutcome:
    """The outcome for a CrashedRun: it is due again, or it ``failed``."""

    worker_id: str
    run_id: str
    crashes: int
    failed: bool


class CrashQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._record_crash = load("record_crash", schema)
        self._keep_post_mortems = load("keep_post_mortems", schema)

    def record_crash(
        self, crash_id: str, crashed: Sequence[CrashedRun], *, max_crashes: int
    ) -> Call:
        """Release the runs of a dead process and count its crash against them; see ``parse_crash``.

        ``crashed`` must hold all runs of the process, because a run fails (at its
        ``max_crashes``-th crash) only if it was alone in its process at least once.
        """
        claims = [
            {
                "run": each.run_id,
                "worker": each.worker_id,
                "evidence": each.evidence,
                "details": each.details,
            }
            for each in crashed
        ]
        return self._record_crash, (self._namespace, to_json(claims), crash_id, max_crashes)

    def keep_post_mortems(self, crash_id: str, crashed: Sequence[CrashedRun]) -> Call:
        """Keep the evidence of a death that counts as no crash; one row: how many runs exist."""
        runs = [
            {"run": each.run_id, "evidence": {**each.evidence, **each.details}} for each in crashed
        ]
        return self._keep_post_mortems, (self._namespace, to_json(runs), crash_id)


def parse_crash(rows: Rows) -> list[CrashOutcome]:
    """Return the outcome for each crashed run whose claim was still good."""
    return [
        CrashOutcome(text(worker), text(run), int(text(crashes)), failed == b"t")
        for worker, run, crashes, failed in rows
    ]
