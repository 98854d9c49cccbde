"""Every metric: its name, its labels and its meaning. docs/metrics.md is checked against this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

OTHER: Final = "other"
"""The value of a label for all that is beyond the limit of ``Tally``."""

FREE_LABELS: Final = ("workflow", "step")
"""The labels whose values come from applications, so that there may be any number of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric. ``bounds`` are the upper bounds of a histogram's buckets, without infinity."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


# From a step of a millisecond to one of an hour.
_DURATIONS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0)
_LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0)
_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)  # no claim brings more than 200

# --- runs and steps ----------------------------------------------------------------------------

RUNS: Final = Metric(
    "owsuper_runs_total",
    "counter",
    "Executions of runs that have ended in this worker, by how they ended: completed, failed,"
    " retrying, parked, released, lost or crashed.",
    ("workflow", "outcome"),
)
RUN_SECONDS: Final = Metric(
    "owsuper_run_execution_seconds",
    "histogram",
    "How long an execution of a run held its slot, unless its process died.",
    ("workflow",),
    _DURATIONS,
)
STEP_SECONDS: Final = Metric(
    "owsuper_step_duration_seconds",
    "histogram",
    "How long an attempt of a function step took.",
    ("workflow", "step"),
    _DURATIONS,
)
STEP_ATTEMPTS: Final = Metric(
    "owsuper_step_attempts_total",
    "counter",
    "Attempts of function steps that have ended, by how they ended: completed or failed.",
    ("workflow", "step", "outcome"),
)
STEP_RETRIES: Final = Metric(
    "owsuper_step_retries_total",
    "counter",
    "Those of these attempts that came after a failed attempt of the same step.",
    ("workflow", "step"),
)

# --- claims ------------------------------------------------------------------------------------

CLAIMS: Final = Metric(
    "owsuper_claims_total",
    "counter",
    "Looks for due runs, by result: runs, none, or failed.",
    ("result",),
)
CLAIM_SIZES: Final = Metric(
    "owsuper_claim_batch_size",
    "histogram",
    "The number of runs of a claim that brought runs.",
    bounds=_SIZES,
)
PICKUP_SECONDS: Final = Metric(
    "owsuper_pickup_latency_seconds",
    "histogram",
    "How long a run had been due when it was claimed, by the database's clock. Not of workflows"
    " with limits.",
    ("workflow",),
    _LATENCIES,
)
LIMIT_SECONDS: Final = Metric(
    "owsuper_limit_wait_seconds",
    "histogram",
    "How long a run of a workflow with limits had been due when it was claimed: what it waited for"
    " its limits, and for a free slot.",
    ("workflow",),
    _DURATIONS,
)
NOTIFICATIONS: Final = Metric(
    "owsuper_notifications_total",
    "counter",
    "Notifications received: runs are due or were canceled, stacks or a drain are asked for.",
)
POLLS: Final = Metric(
    "owsuper_polls_total",
    "counter",
    "Claims that were made only because the poll interval had passed, by result: runs or none."
    " Runs that a poll finds are a sign of lost notifications.",
    ("result",),
)
LEASES_LOST: Final = Metric(
    "owsuper_leases_lost_total",
    "counter",
    "Claims of this worker that ended under it: the run was canceled, or claimed by another"
    " worker after its lease.",
)
LEASES_EXPIRED: Final = Metric(
    "owsuper_leases_expired_total",
    "counter",
    "Runs of any worker that this worker has released because their leases had expired.",
)
DEADLINES_MISSED: Final = Metric(
    "owsuper_deadlines_missed_total",
    "counter",
    "Runs of any worker that this worker has failed because their deadline had passed.",
)
TICKS: Final = Metric(
    "owsuper_ticks_total",
    "counter",
    "Ticks of schedules that this worker has decided about, by outcome: fired, queued, skipped,"
    " paused or missed.",
    ("outcome",),
)
PRUNED: Final = Metric(
    "owsuper_pruned_runs_total",
    "counter",
    "Ended runs that this worker has deleted because of --retain, by status.",
    ("status",),
)

# --- processes ---------------------------------------------------------------------------------

CHILDREN: Final = Metric(
    "owsuper_children",
    "gauge",
    "Child processes, by state: forking, starting, ready, draining, stopping or lost.",
    ("state",),
)
CRASHES: Final = Metric(
    "owsuper_child_crashes_total",
    "counter",
    "Child processes that died although nobody had asked them to stop, by cause: the name of a"
    " signal, an exit code, out of memory, or unknown.",
    ("cause",),
)
SLOTS: Final = Metric(
    "owsuper_slots", "gauge", "Slots for runs, when all child processes are ready."
)
SLOTS_BUSY: Final = Metric("owsuper_slots_busy", "gauge", "Runs that child processes hold.")
PREFETCHED: Final = Metric("owsuper_prefetched_runs", "gauge", "Claimed runs that wait for a slot.")
INFO: Final = Metric(
    "owsuper_worker_info",
    "gauge",
    "Always 1: the version of owsuper, and the namespace and schema that the worker serves.",
    ("version", "namespace", "schema"),
)

# --- the database ------------------------------------------------------------------------------

ROUND_TRIPS: Final = Metric(
    "owsuper_database_round_trips_total",
    "counter",
    "Statements of the supervisor; writes and reads of the child processes.",
    ("process",),
)
COMMIT_SIZES: Final = Metric(
    "owsuper_commit_batch_size",
    "histogram",
    "The number of write sets of runs that a child process stored in one commit.",
    bounds=_SIZES,
)
OUTAGES: Final = Metric(
    "owsuper_database_outages_total",
    "counter",
    "Times that the database could not be used any more, by connection: claiming, listening, or"
    " those of a child process.",
    ("connection",),
)
UP: Final = Metric(
    "owsuper_database_up",
    "gauge",
    "Whether a connection of the supervisor is up: claiming or listening.",
    ("connection",),
)

# --- the queue, asked by one worker ------------------------------------------------------------

QUEUE_DUE: Final = Metric(
    "owsuper_queue_due_runs",
    "gauge",
    "Runs that are due and that no worker has claimed, by workflow, up to 10,000 of each queue.",
    ("workflow",),
)
QUEUE_AGE: Final = Metric(
    "owsuper_queue_oldest_due_seconds",
    "gauge",
    "For how long the oldest of these runs has been due; 0 if none is.",
    ("workflow",),
)
QUEUE_ASKED: Final = Metric(
    "owsuper_queue_asked_timestamp_seconds",
    "gauge",
    "When this worker last asked the database about the queue, in Unix time.",
)

LIMIT_WAITING: Final = Metric(
    "owsuper_limit_waiting_runs",
    "gauge",
    "Runs that are due and wait for a limit, and steps that do, by limit, up to 10,000 of each.",
    ("limit",),
)
LIMIT_AGE: Final = Metric(
    "owsuper_limit_oldest_wait_seconds",
    "gauge",
    "For how long the one that has waited longest of these waits; 0 if none does.",
    ("limit",),
)

# --- what any process can ask the database -----------------------------------------------------

RUNS_BY_STATUS: Final = Metric(
    "owsuper_unfinished_runs",
    "gauge",
    "Runs in the database that have not ended, by status, up to 100,000 of each.",
    ("status",),
)
WORKERS: Final = Metric(
    "owsuper_workers", "gauge", "Workers that the database knows, by state.", ("state",)
)

OF_WORKERS: Final = (
    RUNS,
    RUN_SECONDS,
    STEP_SECONDS,
    STEP_ATTEMPTS,
    STEP_RETRIES,
    CLAIMS,
    CLAIM_SIZES,
    PICKUP_SECONDS,
    LIMIT_SECONDS,
    NOTIFICATIONS,
    POLLS,
    LEASES_LOST,
    LEASES_EXPIRED,
    DEADLINES_MISSED,
    TICKS,
    PRUNED,
    CHILDREN,
    CRASHES,
    SLOTS,
    SLOTS_BUSY,
    PREFETCHED,
    INFO,
    ROUND_TRIPS,
    COMMIT_SIZES,
    OUTAGES,
    UP,
    QUEUE_DUE,
    QUEUE_AGE,
    LIMIT_WAITING,
    LIMIT_AGE,
    QUEUE_ASKED,
)
OF_DATABASE: Final = (QUEUE_DUE, QUEUE_AGE, LIMIT_WAITING, LIMIT_AGE, RUNS_BY_STATUS, WORKERS)
BY_NAME: Final = {metric.name: metric for metric in (*OF_WORKERS, *OF_DATABASE)}
