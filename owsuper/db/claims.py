"""What the supervisor asks of the database, as data: statements, parameters and parsers.

Nothing here does IO; the statements go over a Link, whose rows the ``parse_…`` functions take.
Each operation is one statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from owsuper.core.model import ClaimedRun
from owsuper.db import times
from owsuper.db.statement import Statement, load

Param: TypeAlias = str | int | float
Call: TypeAlias = tuple[Statement, tuple[Param, ...]]
Rows: TypeAlias = Sequence[tuple[bytes | None, ...]]
Lease: TypeAlias = tuple[str, str]
"""(run id, worker id)"""

_SWEEP: Final = 100  # deadlines or leases that are enforced by one statement


@dataclass(frozen=True, slots=True)
class ScanRange:
    """Where to look for runs: not before ``since`` on the database's clock, or ``back`` seconds
    before its present, if that is earlier. What is in ``since`` came from a ``Seen``.
    """

    since: tuple[str, ...]
    back: float


@dataclass(frozen=True, slots=True)
class Scanned:
    """``since``: where the next look may begin. It may miss runs that were committed late, or
    with a due time in the past. ``seconds``: what it took to look.
    """

    since: tuple[str, ...]
    seconds: float


ALL: Final = "-infinity"  # as ``since``: everything
CLAIM_EVERYTHING: Final = ScanRange((ALL, ALL), 0.0)
EVERYTHING: Final = ScanRange((ALL,), 0.0)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim brought.

    ``next_due`` is the number of seconds until another run of those workflows is due, on the
    database's clock: 0 if there may be more now, None if nothing is waiting. ``unreadable``:
    ids of runs that were claimed and cannot be executed, and why.
    """

    runs: list[ClaimedRun]
    next_due: float | None
    seen: Scanned
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CrashedRun:
    """A claim that a process held when it died.

    ``evidence`` is plain JSON; its members ``cause`` (``"signal SIGKILL"``) and ``step`` (what
    was in flight, or None) become part of the run's error message.
    """

    run_id: str
    worker_id: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CrashOutcome:
    """What became of a Casualty: it runs again, or it ``failed`` for good."""

    worker_id: str
    run_id: str
    crashes: int
    failed: bool


@dataclass(frozen=True, slots=True)
class Swept:
    """Runs that failed because of their deadline, or were given back because of their lease.

    ``more``: there may be more of them now.
    """

    run_ids: list[str]
    more: bool
    seen: Scanned


class ClaimQueries:
    """The statements of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._claim = load("claim", schema)
        self._release = load("release", schema)
        self._release_lost = load("release_lost", schema)
        self._release_lapsed = load("release_lapsed", schema)
        self._release_bounced = load("release_bounced", schema)
        self._record_crash = load("record_crash", schema)
        self._extend = load("extend", schema)
        self._expire = load("expire_deadlines", schema)
        self._forget_ended = load("forget_ended", schema)
        self._notify = load("notify", schema)
        self._begun_first = False

    def claim(
        self,
        limit: int,
        workflows: Sequence[tuple[str, str | None]],
        *,
        worker_prefix: str,
        lease_seconds: float,
        durable: bool = False,
        look: ScanRange = CLAIM_EVERYTHING,
    ) -> Call:
        """Claim up to ``limit`` due runs of these (name, version) pairs; ``parse_claim``.

        Every run gets a worker id of its own that begins with ``worker_prefix``. Unless
        ``durable``, a crash of the server may forget the claim.
        """
        # In turn, so that neither new runs nor begun ones starve, even one run at a time.
        self._begun_first = not self._begun_first
        return self._claim, (
            self._namespace,
            _workflows(workflows),
            limit,
            worker_prefix,
            lease_seconds,
            _bool(durable),
            _bool(self._begun_first),
            *look.since,
            look.back,
        )

    def extend(self, leases: Sequence[Lease], lease_seconds: float) -> Call:
        """Renew leases; ``parse_renewed``."""
        return self._extend, (self._namespace, _leases(leases), lease_seconds)

    def release(self, leases: Sequence[Lease]) -> Call:
        """Give runs back, due now and uncharged; ``parse_workers`` gives those that could be."""
        return self._release, (self._namespace, _leases(leases))

    def release_lost(
        self,
        known: Sequence[str],
        *,
        worker_prefix: str,
        lease_seconds: float,
    ) -> Call:
        """Give back what was claimed under ``worker_prefix`` but is not among the ``known``
        worker ids; one row for each run. No claim may be in flight.
        """
        return self._release_lost, (
            self._namespace,
            worker_prefix,
            _json(list(known)),
            lease_seconds,
        )

    def release_lapsed(
        self,
        workflows: Sequence[tuple[str, str | None]],
        look: ScanRange = EVERYTHING,
    ) -> Call:
        """Give back runs of these workflows whose leases ran out, whoever had them;
        ``parse_swept``.
        """
        return self._release_lapsed, (
            self._namespace,
            _workflows(workflows),
            _SWEEP,
            *look.since,
            look.back,
        )

    def release_bounced(self, workflows: Sequence[tuple[str, str | None]]) -> Call:
        """Make runs of these workflows due that were put back by a worker which does not know
        them; their ids.
        """
        return self._release_bounced, (self._namespace, _workflows(workflows), _SWEEP)

    def record_crash(
        self, crash_id: str, casualties: Sequence[CrashedRun], *, max_crashes: int
    ) -> Call:
        """Give back what a dead process held, and charge it; ``parse_crash``.

        ``casualties`` must be all that it held, because a run is only convicted (at its
        ``max_crashes``-th crash) if it was alone in its process at least once.
        """
        claims = [
            {"run": each.run_id, "worker": each.worker_id, "evidence": each.evidence}
            for each in casualties
        ]
        return self._record_crash, (self._namespace, _json(claims), crash_id, max_crashes)

    def expire_deadlines(self, look: ScanRange = EVERYTHING) -> Call:
        """Fail runs whose deadline has passed, in the whole namespace; ``parse_swept``."""
        return self._expire, (self._namespace, _SWEEP, *look.since, look.back)

    def forget_ended(self) -> Call:
        """Delete what is left of our bookkeeping on ended runs; one row: how many they were."""
        return self._forget_ended, (self._namespace,)

    def self_test(self, channel: str) -> Call:
        """Send an empty notification on ``channel``."""
        return self._notify, (channel,)


def _workflows(workflows: Sequence[tuple[str, str | None]]) -> str:
    return _json([{"name": name, "version": version} for name, version in workflows])


def parse_claim(rows: Rows, *, sent: float = 0.0) -> Claimed:
    """What a claim brought; the runs in no particular order.

    ``sent`` is what time.monotonic() said just before it, for whoever keeps time by the runs.
    """
    (told, _), *claimed = rows
    about = orjson.loads(_text(told))
    runs: list[ClaimedRun] = []
    unreadable: list[tuple[str, str]] = []
    for header, raw in claimed:
        try:
            runs.append(_run(header, raw, sent))
        except Exception as error:  # anybody may write a row, and none may stop the supervisor
            unreadable.append((_name(header), f"{type(error).__name__}: {error}"))
    return Claimed(
        runs,
        None if about["next"] is None else max(0.0, about["next"]),
        Scanned((about["new"], about["begun"]), about["took"]),
        tuple(unreadable),
    )


def parse_renewed(rows: Rows) -> dict[str, bool]:
    """Of ``extend``: the worker ids of claims that are good, and whether they were renewed."""
    return {_text(worker): renewed == b"true" for worker, renewed in rows}


def parse_workers(rows: Rows) -> set[str]:
    """The worker ids of ``release``."""
    return {_text(worker) for (worker,) in rows}


def parse_crash(rows: Rows) -> list[CrashOutcome]:
    """One verdict for each casualty that still owned its run."""
    return [
        CrashOutcome(_text(worker), _text(run), int(_text(crashes)), failed == b"t")
        for worker, run, crashes, failed in rows
    ]


def parse_swept(rows: Rows) -> Swept:
    """What became of ``expire_deadlines`` and ``release_lapsed``."""
    (told,), *swept = rows
    about = orjson.loads(_text(told))
    return Swept(
        [_text(run) for (run,) in swept], about["more"], Scanned((about["since"],), about["took"])
    )


def _run(header: bytes | None, raw: bytes | None, sent: float) -> ClaimedRun:
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
        deadline_at=None if deadline is None else times.deadline(times.read(deadline)),
        first=run["attempts"] == 1,
        suspect=run["suspect"],
    )


def _name(header: bytes | None) -> str:
    """The id of a run whose header may be anything."""
    try:
        return str(orjson.loads(header or b"")["run"])
    except (ValueError, TypeError, LookupError):
        return repr(header)[:200]


def _leases(leases: Sequence[Lease]) -> str:
    return _json([{"run": run, "worker": worker} for run, worker in leases])


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _text(value: bytes | None) -> str:
    assert value is not None
    return value.decode()
