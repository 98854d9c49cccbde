"""The statements about claims, as data: statements, parameters and parsers.

Nothing here does IO. The statements go over a NonblockingConnection; the ``parse_…`` functions
take its rows. Each operation is one statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

import orjson

from owsuper.core import carriers
from owsuper.core.model import ClaimedRun
from owsuper.db import times
from owsuper.db.statement import Param, Row, Statement, load

Call: TypeAlias = tuple[Statement, tuple[Param, ...]]
Rows: TypeAlias = Sequence[Row]
Lease: TypeAlias = tuple[str, str]  # run id, worker id
Workflow: TypeAlias = tuple[str, str | None]  # name, version


@dataclass(frozen=True, slots=True)
class ScanRange:
    """The due times to scan.

    The scan begins at ``since`` (on the database's clock, from a ScanResult), or ``margin`` seconds
    before now, if that is earlier.
    """

    since: tuple[str, ...]
    margin: float

    @property
    def params(self) -> tuple[str | float, ...]:
        """The parameters of a statement that scans."""
        return *self.since, self.margin


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The start of the next scan, and the duration of this one.

    A scan from ``since`` may miss runs that were committed late, or with a due time in the past.
    ``seconds`` is the duration of this scan.
    """

    since: tuple[str, ...]
    seconds: float


ALL: Final = "-infinity"  # a ``since`` before all due times
CLAIM_SCAN_ALL: Final = ScanRange((ALL, ALL), 0.0)
SCAN_ALL: Final = ScanRange((ALL,), 0.0)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The runs of a claim.

    ``next_due`` is the number of seconds until another run of these workflows is due, on the
    database's clock: 0 if there may be more now, None if no run is waiting. ``due`` is the same
    moment as a text, which is the same for all supervisors; None if there is no such moment.
    ``more``: other runs were due, for which the claim had no room.

    A transaction that makes runs due need not notify if another does so at the same time. If the
    claim is ``complete``, it has seen all such transactions that began before it. If ``quiet``, the
    next claim has. ``unreadable`` holds the ids of claimed runs that cannot be executed, each with
    the reason. ``waited`` is for how many seconds each run was due, by its id, if that was asked.
    """

    runs: list[ClaimedRun]
    next_due: float | None
    due: str | None
    more: bool
    complete: bool
    quiet: bool
    scan: ScanResult
    unreadable: tuple[tuple[str, str], ...] = ()
    waited: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt of a function step that failed although its process could not write that.

    ``started_at`` is on the database's clock, ``error`` is plain JSON.
    """

    run_id: str
    worker_id: str
    attempt_id: str
    step: str
    started_at: datetime
    error: Mapping[str, Any]


class ClaimQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._claim = load("claim", schema)
        self._claim_limited = load("claim_limited", schema)
        self._limited_workflows = load("limited_workflows", schema)
        self._release = load("release", schema)
        self._fail_attempts = load("fail_attempts", schema)
        self._release_lost = load("release_lost", schema)
        self._extend = load("extend", schema)
        self._notify = load("notify", schema)
        self._undone_workflows = load("undone_workflows", schema)
        self._begun_first = self._limited_begun_first = False

    def claim(
        self,
        limit: int,
        workflows: Sequence[Workflow],
        *,
        worker_prefix: str,
        lease_seconds: float,
        durable: bool = False,
        scan_range: ScanRange = CLAIM_SCAN_ALL,
        waits: bool = False,
    ) -> Call:
        """Claim up to ``limit`` due runs of these (name, version) pairs; see ``parse_claim``.

        Every run gets a worker id of its own that begins with ``worker_prefix``. Unless
        ``durable``, the claim may be lost in a crash of the server. With ``waits``, the answer says
        for how long each run was due.
        """
        # In turn, so that neither new runs nor begun runs starve, even with a limit of 1.
        self._begun_first = not self._begun_first
        params = (self._namespace, workflows_json(workflows), limit, worker_prefix, lease_seconds)
        flags = (to_json(durable), to_json(self._begun_first))
        return self._claim, (*params, *flags, *scan_range.params, to_json(waits))

    def claim_limited(
        self,
        limit: int,
        workflows: Sequence[Workflow],
        *,
        worker_prefix: str,
        lease_seconds: float,
        durable: bool = False,
        scan_range: ScanRange = CLAIM_SCAN_ALL,
        waits: bool = False,
    ) -> Call:
        """As ``claim``, for workflows that have limits."""
        self._limited_begun_first = not self._limited_begun_first
        params = (self._namespace, workflows_json(workflows), limit, worker_prefix, lease_seconds)
        flags = (to_json(durable), to_json(self._limited_begun_first))
        return self._claim_limited, (*params, *flags, *scan_range.params, to_json(waits))

    def limited_workflows(self, names: Sequence[str]) -> Call:
        """Find the limits of these workflows; see ``parse_limited``."""
        return self._limited_workflows, (self._namespace, to_json(list(names)))

    def extend(self, leases: Sequence[Lease], lease_seconds: float) -> Call:
        """Renew leases for ``lease_seconds``; see ``parse_renewed``."""
        return self._extend, (self._namespace, _leases(leases), lease_seconds)

    def release(self, leases: Sequence[Lease]) -> Call:
        """Release runs: due now, no crash counted; see ``parse_workers``."""
        return self._release, (self._namespace, _leases(leases))

    def fail_attempts(self, failed: Sequence[FailedAttempt]) -> Call:
        """Record failed attempts, and release their runs as ``release`` does.

        An attempt whose result is stored keeps it. See ``parse_workers``.
        """
        leases = {each.worker_id: each.run_id for each in failed}
        attempts = [
            {
                "worker": each.worker_id,
                "id": each.attempt_id,
                "name": each.step,
                "started": each.started_at,
                "error": each.error,
            }
            for each in failed
        ]
        claims = _leases([(run, worker) for worker, run in leases.items()])
        return self._fail_attempts, (self._namespace, claims, to_json(attempts))

    def release_lost(
        self, known: Sequence[str], *, worker_prefix: str, lease_seconds: float
    ) -> Call:
        """Release the claims under ``worker_prefix`` that are not among the ``known`` worker ids.

        One row for each run. No claim may be in flight.
        """
        known_json = to_json(list(known))
        return self._release_lost, (self._namespace, worker_prefix, known_json, lease_seconds)

    def undone_workflows(self) -> Call:
        """Read the workflows of which some run was ever undone; see ``parse_workflows``."""
        return self._undone_workflows, (self._namespace,)

    def notify(self, channel: str, payload: str = "") -> Call:
        """Send a notification on ``channel``."""
        return self._notify, (channel, payload)


def parse_claim(rows: Rows, *, sent: float = 0.0, answered: float = 0.0) -> Claimed:
    """Return the result of ``claim``; the runs in no particular order.

    ``sent`` and ``answered`` are time.monotonic() just before the statement was sent, and when
    its answer had arrived.
    """
    (first, _), *claimed = rows
    about = orjson.loads(text(first))
    runs: list[ClaimedRun] = []
    unreadable: list[tuple[str, str]] = []
    for header, raw in claimed:
        try:
            runs.append(_run(header, raw, sent, answered))
        except (
            Exception
        ) as error:  # other programs write rows, too, and no row may stop the supervisor
            unreadable.append((_name(header), f"{type(error).__name__}: {error}"))
    return Claimed(
        runs,
        None if about["next"] is None else max(0.0, about["next"]),
        about["due"],
        about["more"],
        about["complete"],
        about["quiet"],
        ScanResult((about["new"], about["begun"]), about["took"]),
        tuple(unreadable),
        about["waited"] or {},
    )


def parse_limited(rows: Rows) -> frozenset[tuple[str, str]]:
    """Return the names of workflows that ``limited_workflows`` found, each with a limit's."""
    return frozenset((text(workflow), text(limit)) for workflow, limit in rows)


def parse_renewed(rows: Rows) -> dict[str, bool]:
    """Return the worker ids of good claims after ``extend``, and whether each was renewed."""
    return {text(worker): renewed == b"true" for worker, renewed in rows}


def parse_workers(rows: Rows) -> set[str]:
    """Return the worker ids of the runs that ``release`` released."""
    return {text(worker) for (worker,) in rows}


def parse_workflows(rows: Rows) -> list[Workflow]:
    """Return the (name, version) pairs of ``undone_workflows``."""
    return [(text(name), None if version is None else text(version)) for name, version in rows]


def _run(header: bytes | None, raw: bytes | None, sent: float, answered: float) -> ClaimedRun:
    assert header is not None
    run = orjson.loads(header)
    deadline = run["deadline"]
    return ClaimedRun(
        run_id=run["run"],
        workflow_name=run["name"],
        version=run["version"],
        worker_id=run["worker"],
        attempts=run["attempts"],
        input_json=raw,
        input_stored=run["stored"],
        created_at=times.read(run["created"]),
        started_at=times.read(run["started"]),
        claimed_at=times.read(run["claimed"]),
        claim_sent=sent,
        claim_answered=answered,
        deadline_at=None if deadline is None else times.deadline(times.read(deadline)),
        first=run["attempts"] == 1,
        suspect=run["suspect"],
        carrier=None if run["trace"] is None else carriers.read(run["trace"]),
    )


def _name(header: bytes | None) -> str:
    """Return the id of a run whose header may be anything."""
    try:
        return str(orjson.loads(header or b"")["run"])
    except (ValueError, TypeError, LookupError):
        return repr(header)[:200]


def workflows_json(workflows: Sequence[Workflow]) -> str:
    """Return the parameter of a statement that is about these workflows."""
    return to_json([{"name": name, "version": version} for name, version in workflows])


def _leases(leases: Sequence[Lease]) -> str:
    return to_json([{"run": run, "worker": worker} for run, worker in leases])


def to_json(value: Any) -> str:
    """Return a parameter that is JSON."""
    return orjson.dumps(value).decode()


def text(value: bytes | None) -> str:
    """Return a column that is never NULL."""
    assert value is not None
    return value.decode()
