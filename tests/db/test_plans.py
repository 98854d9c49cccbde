"""What statements cost in a large table, whatever the planner knows about it.

Every statement is planned while the tables are empty, and that plan is kept, as a connection
that was opened early keeps it. It must still be good with hundreds of thousands of rows in
them, and so must the plans that are made then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.migrate import migrate
from owsuper.db.statement import load, sql_root
from tests.db.rows import Tables

FOREIGN = 100_000  # due runs of a workflow that we do not know, ahead of ours
OBSOLETE = 20_000  # and of a version of ours that we do not know
OURS = 20_000  # due runs of ours, half of them new
FINISHED = 60_000
PARKED = 20_000  # due later
OPENWORKFLOW = ("workflow_runs", "step_attempts")
BIG = (
    *OPENWORKFLOW, "owsuper_post_mortems", "owsuper_log_lines", "owsuper_progress",
    "owsuper_run_attributes",
)  # fmt: skip
WAITS = 5_000  # runs that wait for signals
TIED = 50  # runs that were started in one transaction
ALL = FOREIGN + OBSOLETE + OURS + PARKED + FINISHED + TIED + WAITS + 200
DIRECTLY = ("Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan")

KNOWN = json.dumps([{"name": "w", "version": None}, {"name": "v", "version": "2"}])
NONE = json.dumps([{"name": "x", "version": None}])
GONE = "host:9:gone"  # a missing supervisor
RUN, PARENT, CHILD, LATE, FAILED = "own 7", "parent", "child", "late", "failed"
CLAIM = {"run": RUN, "worker": "me"}
STEP = {"id": "new", "worker": "me", "name": "s", "kind": "function", "status": "completed"}
STEP |= {"started": "2030-01-01T00:00:00Z", "finished": "2030-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Use:
    """A statement with parameters, and the most rows it may read of the two big tables."""

    statement: str
    params: tuple[Any, ...]
    rows: int
    label: str = ""

    @property
    def execute(self) -> str:
        literals = ["NULL" if each is None else f"'{each}'" for each in self.params]
        arguments = f"({', '.join(literals)})" if literals else ""
        return f"EXECUTE {self.statement}{arguments}"

    def __str__(self) -> str:
        return f"{self.statement} {self.label}".strip()


NEW_RUN = json.dumps([{"id": "x", "name": "w", "input": 1, "config": {"owsuper": {"priority": 7}}}])
NEW_CHILD = {"id": "new child", "name": "w", "version": None, "input": 1}


def commit(*, steps: int = 1, run: str = RUN, child: Any = None, **outcome: Any) -> tuple[str, ...]:
    claim = {"run": run, "worker": "me", **outcome}
    attempts = [{**STEP, "id": f"new {n}", "child": child} for n in range(steps)]
    return "default", json.dumps([claim]), json.dumps(attempts), "false"


TIMED_OUT = json.dumps([{**STEP, "id": "new", "error": {"message": "late"}}])
FULL = ("-infinity", "-infinity", 0, "false")  # a look at everything
LATER = "2032-01-01T00:00:00Z"
LONG_AGO = "2020-01-01T00:00:00Z"
# Pages of ten runs, and one more to see whether there are others.
ANY_TIME = ("-infinity", "infinity")
DAY = ("2024-12-31T00:00:00Z", "2024-12-31T23:59:59Z")
FIRST = ("infinity", "", 11, "false", *ANY_TIME)
OLDER = ("2024-12-31T20:00:00Z", "x", 11, "false", *ANY_TIME)
NEWER = ("2020-01-02T00:00:00Z", "x", 11, "true", *ANY_TIME)
TIES = (LONG_AGO, "tied 30", 11, "false", *ANY_TIME)
OF_DAY = ("infinity", "", 11, "false", *DAY)
NEWER_OF_DAY = ("2020-01-02T00:00:00Z", "x", 11, "true", *DAY)
EVERY = "{pending,running,sleeping,completed,succeeded,failed,canceled}"
BEGINNING = ("-infinity", "")
END = ("infinity", "\U0010ffff")
TO_OLDER = (*END, 11, "false", *ANY_TIME)
TO_NEWER = (*BEGINNING, 11, "true", *ANY_TIME)
UNFILTERED = (11, None, None, None, EVERY, None)  # how many to read at most, and the filters
OF_VERSION = (200, "none", None, None, EVERY, None)
FAILED_ONLY = (11, None, None, None, "{failed,canceled}", None)
OF_W = (11, None, None, None, EVERY, "w")
TENANT = (None, EVERY, None, "tenant", "false")
PARITY = json.dumps({"parity": "1"})
DRIVER = ("tenant", "false", PARITY, "7")
COUNTED = ("default", *ANY_TIME, None, None, None, EVERY)
STATUSES = ("completed", "succeeded", "failed", "canceled")
ENDED = [{"workflow": name, "status": each, "since": "-infinity", "skip": 0, "until": "infinity"}
         for name in ("unknown", "v", "w") for each in STATUSES]  # fmt: skip
OLD = json.dumps([{"range": n, "keep": 0, **each} for n, each in enumerate(ENDED)])
NOT_OLD = json.dumps([{"range": n, "keep": 1e9, **each} for n, each in enumerate(ENDED)])
DOOMED = json.dumps([{"id": f"finished {n}", "last": f"finished {n}", "keep": 0}
                     for n in range(1, 11)])  # fmt: skip
SCHEDULE = json.dumps({
    "name": "new", "workflow_name": "w", "cron": "@daily", "timezone": "UTC", "jitter": 0,
    "catch_up": "last", "catch_up_limit": 1, "overlap": "allow", "takes_tick": True,
    "next_at": LATER, "fingerprint": "f",
})  # fmt: skip
DECLARED = f"[{SCHEDULE}]"
DUE = (LONG_AGO, LONG_AGO)
DESCRIBED = {"id": "x", "name": "w", "attributes": {"tenant": "7"}}
CHANGES = [
    {"run": "foreign 50001", "name": "tenant", "value": "8"},
    {"run": "foreign 50001", "name": "parity", "value": None},
]
USES = [
    Use("commit", commit(), 1, "of a step"),
    Use("commit", commit(steps=5), 1, "of several steps"),
    Use("commit", commit(outcome="complete", output=1), 1, "of a completion"),
    Use("commit_related", commit(outcome="park", at=LATER, awaits=[f"{RUN}/10"]), 2, "of a park"),
    Use("commit_related", commit(child=NEW_CHILD), 1, "of a step that starts a child"),
    Use("look", ("default", "wait"), 2),
    Use("adopt_child", ("default", RUN, "me", "wait", json.dumps([NEW_CHILD]), "key"), 3),
    Use("open_children", ("default", f"{{{PARENT}}}"), 2),
    Use("send_signal", ("default", "go", None, "key", "false", "kept"), 0),
    Use("parked_unaware", ("default", "go", json.dumps([RUN]), "[]"), 0),
    Use("wake_signaled", ("default", RUN, "30s"), 1),
    Use("skip_signal", ("default", RUN, "me", f"{RUN}/10", "sent", "why"), 3),
    Use("next_signal", ("default", RUN, f"{RUN}/10", "go"), 0),
    Use("list_skipped_signals", ("default", RUN), 1),
    Use("lock_signal_waits", ("default", "go"), 0),
    Use("lock_waits", ("default", json.dumps(["wait"])), 1),
    Use("release_bounced", ("default", KNOWN, 100), 0),
    Use("commit_related", commit(run=CHILD, outcome="complete"), 5, "of a child's end"),
    Use("lock_claim", ("default", RUN, "me"), 1),
    Use("attempt_status", ("default", f"{RUN}/10"), 1),
    Use("extend", ("default", json.dumps([CLAIM]), 30), 1),
    Use("fail_attempts", ("default", json.dumps([CLAIM]), TIMED_OUT), 1),
    Use("release", ("default", json.dumps([CLAIM])), 1),
    Use("release_lost", ("default", "me", "[]", 30), 0, "of nothing"),
    Use("release_lost", ("default", "me", "[]", 3700), 201),
    Use("register_supervisor", ("default", "host:1:a", 30, "host", 1), 0),
    Use("announce", ("default", "host:1:a", 30, "host", 1, "false", "1", "[]", "{}", 45), 0),
    Use("leave", ("default", "host:1:a"), 0),
    Use("audit_intend", ("default", "new", "1", None, None, "cancel", "{}", None, 400), 0),
    Use("audit_attempt", ("default", "new"), 0),
    Use("audit_answer", ("default", "asked", 0, "true", 1, 0, "{}"), 0),
    Use("list_audit", ("default", "infinity", "", 101), 0),
    Use("get_audit", ("default", "asked"), 0),
    Use("list_audit_answers", ("default", "asked"), 0),
    Use("list_supervisors", ("default", 45), 0),
    Use("paused_workflows", ("default",), 0),
    Use("pause_workflow", ("default", "w", "me", None, "channel", "pauses:"), 0),
    Use("resume_workflow", ("default", "w", "channel", "pauses:"), 0),
    Use("workflow_has_runs", ("default", "w"), 1),
    Use("standing", ("default", RUN), 0),
    Use("other_supervisors", ("default", "host:1:a"), 0),
    Use("release_missing", ("default", GONE), 202),
    Use("release_lapsed", ("default", KNOWN, 100, "infinity", 60), 62),
    Use("load", ("default", RUN, 2000, "worker"), 11),
    Use("load_more", ("default", RUN, 2000, "-infinity", 0), 10),
    Use("load_input", ("default", RUN), 1),
    Use("move_version", ("default", RUN, "me", "2"), 1),
    Use("mark_undo", ("default", RUN, "me"), 1),
    Use("load_undone", ("default", RUN), 1),
    Use("load_first_input", ("default", RUN), 2),
    Use("continue_run", ("default", CHILD, "me", json.dumps(NEW_CHILD)), 3),
    Use("outcome", ("default", RUN), 1),
    Use("look_at_schedules", ("default", 100, '["other"]'), 3),
    Use("fire_tick", ("default", "due", *DUE, LATER, "tick", "false", "k", 0, 200), 6),
    Use("declare_schedules", ("default", DECLARED, "flows", 180), 0),
    Use("list_schedules", ("default", None, None, None), 2001),
    Use("list_schedules", ("default", "due", None, 1), 2, "of one name"),
    Use("list_schedules", ("default", None, "due", 51), 52, "of a page"),
    Use("list_ticks", ("default", "due", 20), 0),
    Use("create_schedule", ("default", SCHEDULE, "false"), 0),
    Use("pause_schedule", ("default", "due"), 0),
    Use("resume_schedule", ("default", "due", LATER), 0),
    Use("delete_schedule", ("default", "due", 180), 0),
    Use("start_scheduled", ("default", "due", json.dumps([{"id": "new"}])), 0),
    Use("claim", ("default", KNOWN, 10, "host:", 30, "false", "false", *FULL), 34),
    Use("claim", ("default", KNOWN, 1, "host:", 30, "false", "true", *FULL), 7, "of one run"),
    Use("claim", ("default", NONE, 10, "", 30, "false", "false", *FULL), 0, "of nothing"),
    Use("claim", ("default", KNOWN, 1_000, "host:", 30, "false", "false", *FULL), 3_004, "of many"),
    Use("queue_depth", ("default", 10, 1000), 100),
    Use("count_unfinished", ("default", 100), 300),
    Use("watch_queue", ("default",), 0),
    Use("record_crash", ("default", json.dumps([{**CLAIM, "evidence": {}}]), "crash", 3), 2),
    Use("keep_post_mortems", ("default", json.dumps([{"run": RUN, "evidence": {}}]), "death"), 1),
    Use("list_post_mortems", ("default", RUN), 1),
    Use("expire_deadlines", ("default", 10, "-infinity", 0), 2),
    Use("wake_missed_parents", ("default", "", "", 1000), 2),
    Use("forget_ended", ("default",), 0),
    Use("start", ("default", json.dumps([{"id": "x", "name": "w", "input": 1}])), 0),
    Use(
        "start_with_key",
        ("default", json.dumps([{"id": "x", "name": "w", "key": "k"}]), "w", "k", 86400),
        0,
    ),
    Use("start_with_key", ("default", "[]", "w", "key 5", 86400), 1, "that was used"),
    Use("start_with_config", ("default", NEW_RUN), 0),
    Use("start_with_key_and_config", ("default", NEW_RUN, "w", "new", 86400), 0),
    Use("start_with_attributes", ("default", json.dumps([DESCRIBED])), 0),
    Use("start_with_key_and_attributes", ("default", json.dumps([DESCRIBED]), "w", "k", 86400), 0),
    Use("set_attributes", ("default", json.dumps(CHANGES)), 4),
    Use("register_limits", ("default", "[]", '["w"]', LATER), 0),
    Use("list_limits", ("default", None, 1000), 0),
    Use("list_limit_keys", ("default", "limit", 100, 1000, None), 0),
    Use("limit_of_run", ("default", RUN, 1000), 0),
    Use("turns_of_run", ("default", RUN, 100), 0),
    Use("limit_names", ("default", 1000), 0),
    Use("set_limit", ("default", "limit", 7), 0),
    Use("find_conflicts", ("default", "limit", "key"), 0),
    Use("note_conflict", ("default", "limit", "key", RUN), 0),
    Use("debounce", ("default", "new 1", 60, NEW_RUN), 2),
    Use("name_of_run", ("default", RUN), 1),
    Use("get_run", ("default", RUN), 2),
    Use("cancel", ("default", CHILD), 5),
    Use("retry_lock", ("default", FAILED, None), 12),
    Use("retry", ("default", FAILED, None), 23),
    Use("retry_lock", ("default", FAILED, "s"), 23, "from a step"),
    Use("retry", ("default", FAILED, "s"), 34, "from a step"),
    Use("skip_undo", ("default", FAILED, "s", "new", "{}"), 12),
    Use("rerun_lock", ("default", FAILED), 11),
    Use("rerun", ("default", FAILED, "s", json.dumps({"id": "again", "given": False})), 11),
    Use("wake_lock", ("default", RUN), 11),
    Use("wake", ("default", PARENT, None), 2),
    Use("list_runs", ("default", *FIRST), 34),
    Use("list_runs", ("default", *OLDER), 23, "that are older"),
    Use("list_runs", ("default", *NEWER), 23, "that are newer"),
    Use("list_runs", ("default", *TIES), 2 * TIED, "of one moment"),
    Use("list_runs_by_status", ("default", *FIRST, "completed"), 23),
    Use("list_runs_by_status", ("default", *NEWER, "completed"), 23, "that are newer"),
    Use("list_runs_by_status", ("default", *FIRST, "canceled"), 0, "of which there are none"),
    Use("list_runs_of_workflow", ("default", *FIRST, "w", EVERY), 100),
    Use("list_runs_of_workflow", ("default", *OLDER, "w", EVERY), 102, "that are older"),
    Use("list_runs_of_workflow", ("default", *NEWER, "w", EVERY), 102, "that are newer"),
    Use("list_runs_of_workflow", ("default", *FIRST, "w", "{completed}"), 23, "of one status"),
    Use("list_runs_of_workflow", ("default", *FIRST, "x", EVERY), 0, "of which there are none"),
    Use("list_runs", ("default", *OF_DAY), 22, "of a day"),
    Use("list_runs", ("default", *NEWER_OF_DAY), 22, "of a day that are newer"),
    Use("list_runs_by_status", ("default", *OF_DAY, "running"), 22, "of a day"),
    Use("list_runs_of_workflow", ("default", *OF_DAY, "w", EVERY), 30, "of a day"),
    Use("list_runs_with_key", ("default", *FIRST, None, EVERY, "key 5"), 4),
    Use("list_runs_with_key", ("default", *FIRST, "w", EVERY, "key 5"), 2, "in one"),
    Use("list_runs_of_parent", ("default", *FIRST, None, EVERY, None, PARENT, "false", "{}"), 5),
    Use("list_runs_of_parent", ("default", *FIRST, None, EVERY, None, PARENT, "true", PARITY), 5),
    Use("list_runs_with_attributes", ("default", *FIRST, *TENANT, "{}", "7"), 60),
    Use("list_runs_with_attributes", ("default", *NEWER, *TENANT, "{}", "7"), 60, "that are newer"),
    Use("list_runs_with_attributes", ("default", *FIRST, *TENANT, PARITY, "7"), 120, "of two"),
    Use("list_runs_with_attributes", ("default", *OF_DAY, *TENANT, "{}", "7"), 0, "of a day"),
    Use("list_crashed_runs", ("default", *FIRST, None, EVERY, None), 24),
    Use("list_crashed_runs", ("default", *NEWER, None, EVERY, None), 24, "that are newer"),
    Use("list_crashed_runs", ("default", *OF_DAY, None, EVERY, None), 0, "of a day"),
    Use("find_run_ids", ("default", "own 7", "own 7", "own 7\U0010ffff", 5), 7),
    Use("who_serves", ("default", 5), 12),
    Use("list_retries", ("default", FAILED), 1),
    Use("list_log_lines", ("default", RUN, 0, 0, 10), 11),
    Use("list_log_lines", ("default", RUN, 0, 50, 10), 201, "of a level"),
    Use("forget_log_lines", ("default", 3600, 100), 200),
    Use("prune_workflows", ("default", "", 200), 5),
    Use("prune_find", ("default", OLD, 100, 4000), 800),
    Use("prune_find", ("default", NOT_OLD, 100, 4000), 0, "of nothing"),
    Use("prune_delete", ("default", DOOMED), 100),
    Use("prune_documents", ("default", json.dumps([FAILED])), 16),
    Use("prune_rules", ("default",), 0),
    Use("watch_retention", ("default",), 0),
    Use("get_progress", ("default", RUN), 2),
    Use("store_progress", ("default", json.dumps([{"run": RUN, "done": 1}])), 1),
    Use("list_attempts", ("default", RUN, "-infinity", "", 11, "false"), 11),
    Use("list_attempts", ("default", RUN, "infinity", "", 3, "true"), 11, "that are older"),
    Use("dashboard_runs", ("default", *TO_OLDER, *UNFILTERED), 50),
    Use("dashboard_runs", ("default", *TO_NEWER, *UNFILTERED), 2 * TIED + 40, "that are newer"),
    Use("dashboard_runs", ("default", *TO_OLDER, *OF_VERSION), 420, "of a version"),
    Use("dashboard_runs_by_status", ("default", *TO_OLDER, *FAILED_ONLY), 10, "that failed"),
    Use("dashboard_runs_by_status", ("default", *TO_OLDER, *UNFILTERED), 120),
    Use("dashboard_runs_by_status", ("default", *TO_NEWER, *UNFILTERED), 250, "that are newer"),
    Use("dashboard_runs_of_workflow", ("default", *TO_OLDER, *OF_W), 140),
    Use("dashboard_runs_of_workflow", ("default", *TO_NEWER, *OF_W), 250, "that are newer"),
    Use("dashboard_crashed_runs", ("default", *TO_OLDER, *UNFILTERED), 90),
    Use("dashboard_crashed_runs", ("default", *TO_NEWER, *UNFILTERED), 90, "that are newer"),
    Use(
        "dashboard_runs_of_parent",
        ("default", *TO_OLDER, *UNFILTERED, PARENT, "false", "{}", None),
        6,
    ),
    Use(
        "dashboard_search_runs",
        ("default", *TO_OLDER, *UNFILTERED, "own 7", "false", "{}", "own 7", "own 7\U0010ffff"),
        40,
    ),
    Use(
        "dashboard_search_runs",
        ("default", *TO_OLDER, *UNFILTERED, "key 5", "false", "{}", None, None),
        8,
        "with a key",
    ),
    Use("dashboard_runs_with_attributes", ("default", *TO_OLDER, *UNFILTERED, *DRIVER), 120),
    Use(
        "dashboard_runs_with_attributes",
        ("default", *TO_NEWER, *UNFILTERED, *DRIVER),
        120,
        "that are newer",
    ),
    Use(
        "dashboard_runs_with_attributes",
        ("default", *TO_OLDER, *OF_VERSION, *DRIVER),
        1000,
        "of a version",
    ),
    Use(
        "dashboard_count_with_attributes",
        (*COUNTED, None, 20, "tenant", "7", PARITY, "false"),
        80,
    ),
    Use("dashboard_count_runs", (*COUNTED, None, 200), 200),
    Use("dashboard_count_by_status", (*COUNTED, None, 200), 1000),
    Use("dashboard_count_of_workflow", (*COUNTED, "w", 200), 1000),
    Use("dashboard_count_crashed", (*COUNTED, None, 5), 12),
    Use("dashboard_signal_waits", ("default", *BEGINNING, 11, "true", 20, None, None), 60),
    Use("dashboard_signal_waits", ("default", *END, 11, "false", 20, None, None), 60, "back"),
    Use("dashboard_signal_waits", ("default", *END, 11, "false", 20, None, "x"), 40, "of one"),
    Use("dashboard_waits_for_signal", ("default", *END, 11, "false", 20, None, "go 7"), 3),
    Use("dashboard_workflow_names", ("default", "", 25, "{s,w}"), 5),
    Use("dashboard_workflow_counts", ("default", "{v,w}", LONG_AGO, 100), 1200),
    Use("dashboard_workflow_durations", ("default", "{v,w}", LONG_AGO, 100), 200),
    Use("dashboard_workflow_steps", ("default", "w", LONG_AGO, 100, 10), 220),
    Use("dashboard_run", ("default", RUN, 9000), 2),
    Use("dashboard_run_values", ("default", RUN, "{input,output}", 9000, 9000, "false"), 1),
    Use("dashboard_attempts", ("default", RUN, 1000, 9000), 10),
    Use("dashboard_log_lines", ("default", RUN, None, 0, 20), 20),
    Use("dashboard_run_marks", ("default", f"{{{RUN},{PARENT}}}"), 16),
    Use("dashboard_attempts", ("default", PARENT, 1000, 9000), 2, "with a child run"),
    Use(
        "dashboard_attempt_values",
        ("default", RUN, f"{{{RUN}/1,{RUN}/2}}", "{output}", 9000, 9000, "false"),
        10,
    ),
    Use("count_runs", ("default",), ALL),
    Use("dashboard_now", ("default", 100), 5 * 101),
    Use("dashboard_recent", ("default", LONG_AGO, 60, 100), 5 * 100),
    Use("dashboard_recent_failures", ("default", LONG_AGO, 10), 1),
    Use("dashboard_queues", ("default", 100, 50), 2 * 4 * 51 + 10),
    Use("dashboard_attention", ("default", LONG_AGO, 60, 3600, 10), 1000 + 5 * 11),
]  # fmt: skip
NOT_HERE = {  # they read no table of ours
    "dashboard_estimate_runs",
    "dashboard_newest_transaction",
    "lock_supervisor",
    "note_unaware",
    "notify",
    "set_lock_timeout",
    "signal_lock",
    "start_lock",
    "store_log_lines",
    "transaction_settings",
    "undone_workflows",
    "which_database",
}


@pytest.fixture(scope="module")
def big(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection that planned everything before the tables grew; they are in its path."""
    schema = f"test_{uuid4().hex[:16]}"
    with connect.connect(database_url, application_name="owsuper test") as conn:
        migrate(conn, schema)
        for table in BIG:
            off = f'ALTER TABLE "{schema}".{table} SET (autovacuum_enabled = off)'
            conn.execute(off.encode())
            conn.execute(f'VACUUM "{schema}".{table}'.encode())  # known to be empty: the worst case
        conn.execute(f'SET search_path = "{schema}"'.encode())
        conn.execute("SET plan_cache_mode = force_generic_plan")
        for name in {use.statement for use in USES}:
            conn.execute(f"PREPARE {name} AS {load(name, schema).text}".encode())
        for use in USES:
            explained(conn, use, analyze=False)
        # From elsewhere: some settings that it changes would make this session plan anew.
        with connect.connect(database_url, application_name="owsuper test") as other:
            other.execute(f'SET search_path = "{schema}"'.encode())
            fill(other)
        yield conn
        conn.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())


def fill(conn: psycopg.Connection) -> None:
    def runs(count: int, **columns: str) -> None:
        defaults = {
            "namespace_id": "'default'",
            "id": "'x'",
            "workflow_name": "'w'",
            "status": "'pending'",
            "config": "'{}'",
            "attempts": "0",
            "created_at": "now() - n * interval '1 ms'",
            "updated_at": "now()",
        }
        columns = {**defaults, **columns}
        conn.execute(
            f"INSERT INTO workflow_runs ({', '.join(columns)})"
            f" SELECT {', '.join(columns.values())} FROM generate_series(1, {count}) AS n".encode()
        )

    conn.execute(
        "INSERT INTO owsuper_schedules (namespace_id, name, workflow_name, timezone,"
        " jitter_seconds, catch_up, catch_up_limit, overlap, takes_tick, next_at, open_runs)"
        " SELECT 'default', 'n' || n, 'w', 'UTC', 0, 'last', 1, 'allow', true,"
        " timestamptz 'infinity', '{}'::text[]"
        " FROM generate_series(1, 2000) AS n"
        f" UNION ALL SELECT 'default', 'due', 'w', 'UTC', 0, 'last', 1, 'cancel_running', true,"
        f" '{LONG_AGO}', '{{{RUN},{PARENT}}}'".encode()
    )
    conn.execute("SET session_replication_role = replica")  # no triggers: only the rows matter
    runs(FOREIGN, id="'foreign ' || n", workflow_name="'unknown'",
         available_at="now() - interval '1 day'")  # fmt: skip
    runs(OBSOLETE, id="'obsolete ' || n", version="'1'",
         available_at="now() - interval '1 day'")  # fmt: skip
    runs(OURS // 2, id="'new ' || n", available_at="now() - n * interval '1 s'")
    runs(OURS // 2, id="'begun ' || n", status="'running'",
         available_at="now() - n * interval '1 s'")  # fmt: skip
    runs(PARKED, id="'parked ' || n", status="'running'",
         available_at="now() + n * interval '1 min'",
         created_at="timestamptz '2025-01-01Z' - n * interval '1 s'")  # fmt: skip
    runs(TIED, id="'tied ' || n", status="'completed'", created_at=f"'{LONG_AGO}'")
    runs(FINISHED, id="'finished ' || n", status="'completed'", idempotency_key="'key ' || n")
    runs(100, id="'own ' || n", status="'running'", worker_id="'me'",
         available_at="now() + interval '1 hour'")  # fmt: skip
    runs(WAITS, id="'waits ' || n", status="'running'", available_at="now() + interval '1 year'")
    runs(1, id=f"'{PARENT}'", status="'running'", available_at="now() + interval '1 hour'")
    runs(1, id=f"'{CHILD}'", status="'running'", worker_id="'me'", parent_step_attempt_id="'wait'",
         parent_step_attempt_namespace_id="'default'",
         available_at="now() + interval '1 hour'")  # fmt: skip
    runs(1, id=f"'{LATE}'", deadline_at="now()", available_at="now()")
    runs(1, id=f"'{FAILED}'", status="'failed'")
    conn.execute(
        b"INSERT INTO owsuper_post_mortems (namespace_id, workflow_run_id, crash_id,"
        b" run_created_at, counted, given_up, evidence) SELECT 'default', r.id, n, r.created_at,"
        b" true, n = 1, '{}' FROM workflow_runs AS r, generate_series(1, 3) AS n"
        b" WHERE r.id LIKE 'finished 1%'"
    )
    conn.execute(
        b"INSERT INTO owsuper_log_lines (namespace_id, workflow_run_id, stored_at, logged_at,"
        b" level, logger, message, host, pid) SELECT 'default', r.id, now() - n * interval '1 min',"
        b" now(), 20, 'shop', 'reserved', 'host', 1"
        b" FROM workflow_runs AS r, generate_series(1, 200) AS n WHERE r.id LIKE 'own %'"
    )
    conn.execute(
        b"INSERT INTO owsuper_progress (namespace_id, workflow_run_id, done)"
        b" SELECT 'default', id, 1 FROM workflow_runs WHERE id LIKE 'finished %'"
    )
    conn.execute(
        b"INSERT INTO owsuper_run_attributes (namespace_id, workflow_run_id, name, value,"
        b" run_created_at) SELECT 'default', r.id, a.name, a.value, r.created_at"
        b" FROM (SELECT *, row_number() OVER () AS n FROM workflow_runs"
        b" WHERE id LIKE 'foreign 5____') AS r, LATERAL (VALUES"
        b" ('tenant', (r.n % 10)::text), ('parity', (r.n % 2)::text)) AS a (name, value)"
    )
    conn.execute(
        "INSERT INTO owsuper_supervisors (namespace_id, id, lease_seconds, host, pid)"
        f" VALUES ('default', '{GONE}', 3700, 'host', 9)".encode()
    )
    conn.execute(
        b"INSERT INTO owsuper_audit (namespace_id, id, attempt, action, target)"
        b" VALUES ('default', 'asked', '1', 'cancel', '{}')"
    )
    conn.execute(
        "INSERT INTO step_attempts (namespace_id, id, workflow_run_id, step_name, kind, status,"
        " config, created_at, updated_at) SELECT 'default', r.id || '/' || n, r.id, 's',"
        " 'function', CASE WHEN n = 10 THEN 'running' WHEN r.status = 'failed' THEN 'failed'"
        " ELSE 'completed' END, '{}', now() + n * interval '1 s', now()"
        " FROM workflow_runs AS r, generate_series(1, 10) AS n"
        f" WHERE r.id LIKE 'own %' OR r.id LIKE 'begun %' OR r.id = '{FAILED}'".encode()
    )
    conn.execute(
        b"INSERT INTO step_attempts (namespace_id, id, workflow_run_id, step_name, kind, status,"
        b" config, context, created_at, updated_at) SELECT 'default', id || '/wait', id, 's',"
        b" 'signal-wait', 'running', '{}', jsonb_build_object('signal', replace(id, 'waits',"
        b" 'go')), created_at, now() FROM workflow_runs WHERE id LIKE 'waits %'"
    )
    conn.execute(
        "INSERT INTO step_attempts (namespace_id, id, workflow_run_id, step_name, kind, status,"
        " config, child_workflow_run_namespace_id, child_workflow_run_id, created_at, updated_at)"
        f" VALUES ('default', 'wait', '{PARENT}', 's', 'workflow', 'running', '{{}}', 'default',"
        f" '{CHILD}', now(), now())".encode()
    )


def explained(conn: psycopg.Connection, use: Use, *, analyze: bool = True) -> Any:
    """The root of the plan; with ``analyze`` after having executed it, without effect.

    The second time, since the first one also reads what a session must know of the tables: at
    any time anew, when a vacuum has made it forget.
    """
    how = "ANALYZE, BUFFERS, FORMAT JSON" if analyze else "FORMAT JSON"
    for _ in range(2):
        conn.execute("BEGIN")
        try:
            row = conn.execute(f"EXPLAIN ({how}) {use.execute}".encode()).fetchone()
        finally:
            conn.execute("ROLLBACK")
    assert row
    return row[0][0]["Plan"]


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def check(plan: Any, use: Use) -> None:
    read = 0
    for node in nodes(plan):
        kind, loops = node["Node Type"], node["Actual Loops"]
        rows = node["Actual Rows"] * loops
        if "Sort" in kind:
            [below] = [each for each in node["Plans"] if each["Parent Relationship"] == "Outer"]
            assert below["Actual Rows"] * below["Actual Loops"] <= max(use.rows, 10)
        if node.get("Relation Name") in BIG and node["Node Type"] != "ModifyTable":
            assert kind in DIRECTLY, f"{kind} on {node['Relation Name']}"
            removed = [node.get(key, 0) for key in node if key.startswith("Rows Removed by")]
            read += rows + sum(removed) * loops
    assert read <= use.rows, f"{read} rows read"
    # An index scan counts only what it returns; its pages tell what it went through for that.
    # What a CTE does is not part of what its reader does.
    alone = [each for each in nodes(plan) if each.get("Parent Relationship") in (None, "InitPlan")]
    pages = sum(each["Shared Hit Blocks"] + each["Shared Read Blocks"] for each in alone)
    assert pages <= 300 + 40 * use.rows, f"{pages} pages touched"


@pytest.mark.parametrize("use", USES, ids=str)
def test_a_plan_made_for_empty_tables_is_good_for_large_ones(
    use: Use, big: psycopg.Connection
) -> None:
    check(explained(big, use), use)


@pytest.mark.parametrize("use", USES, ids=str)
def test_a_plan_made_before_the_first_analyze_is_good(use: Use, big: psycopg.Connection) -> None:
    """When the tables have grown, and all that is known of them is what the migration has said.

    A session may plan anew at any time: for example, when a catalog that the statement reads was
    vacuumed.
    """
    big.execute(b"DISCARD PLANS")
    check(explained(big, use), use)


@pytest.mark.parametrize("use", USES, ids=str)
def test_a_plan_made_with_statistics_is_good(use: Use, big: psycopg.Connection) -> None:
    """Runs after the test above, whose plans end with the first ANALYZE."""
    analyzed = "SELECT reltuples > 0 FROM pg_class WHERE oid = 'workflow_runs'::regclass"
    if big.execute(analyzed.encode()).fetchone() == (False,):
        big.execute(f"ANALYZE {', '.join(BIG)}".encode())
    check(explained(big, use), use)


def rows_of(plan: Any) -> float:
    """What all nodes return: a nested loop of many with many stands out."""
    return sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan))


def test_a_commit_of_many_child_runs_costs_no_more_for_each_than_one_of_few(
    big: psycopg.Connection,
) -> None:
    def cost(count: int) -> float:
        claim, steps, durable = (json.loads(part) for part in commit(steps=count)[1:])
        for number, step in enumerate(steps):
            step["child"] = {**NEW_CHILD, "id": f"new child {number}"}
        params = ("default", json.dumps(claim), json.dumps(steps), json.dumps(durable))
        return rows_of(explained(big, Use("commit_related", params, 0)))

    assert cost(400) <= 12 * cost(50)


@pytest.mark.parametrize("owner", ["me", None])
def test_a_signal_to_many_waits_costs_no_more_for_each_than_one_to_few(
    owner: str | None, schema: str, tables: Tables, database_url: str
) -> None:
    def cost(conn: psycopg.Connection, signal: str, count: int) -> list[float]:
        runs = [tables.run(worker_id=owner) for _ in range(count)]
        for run in runs:
            tables.signal_wait(run, signal)
        send = ("default", signal, "1", None, "false", "kept")
        unaware = ("default", signal, json.dumps(runs), json.dumps(runs))
        uses = (
            Use("lock_signal_waits", ("default", signal), 0),
            Use("send_signal", send, 0),
            Use("parked_unaware", unaware, 0),
        )
        return [rows_of(explained(conn, use)) for use in uses]

    with connect.connect(database_url, application_name="owsuper test") as conn:
        conn.execute(b"SET plan_cache_mode = force_generic_plan")
        for name in ("lock_signal_waits", "send_signal", "parked_unaware"):
            conn.execute(f"PREPARE {name} AS {load(name, schema).text}".encode())
        few, many = cost(conn, "few", 50), cost(conn, "many", 400)
    for of_many, of_few in zip(many, few, strict=True):
        assert of_many <= 12 * of_few


@pytest.mark.parametrize("ended", [False, True])
def test_a_park_at_many_child_runs_costs_no_more_for_each_than_one_at_few(
    ended: bool, schema: str, tables: Tables, database_url: str
) -> None:
    def cost(conn: psycopg.Connection, count: int) -> float:
        run = tables.run(worker_id="me")
        status = "completed" if ended else "running"
        for _ in range(count):
            tables.child(run, status=status)
        awaits = [step["id"] for step in tables.steps_of(run)]
        params = commit(steps=0, run=run, outcome="park", at=LATER, awaits=awaits)
        return rows_of(explained(conn, Use("commit_related", params, 0)))

    with connect.connect(database_url, application_name="owsuper test") as conn:
        conn.execute(b"SET plan_cache_mode = force_generic_plan")
        conn.execute(f"PREPARE commit_related AS {load('commit_related', schema).text}".encode())
        few, many = cost(conn, 50), cost(conn, 400)
    assert many <= 12 * few


@pytest.mark.parametrize("name", ["retry", "rerun"])
def test_to_repeat_many_steps_costs_no_more_for_each_than_few(
    name: str, schema: str, tables: Tables, database_url: str
) -> None:
    def cost(conn: psycopg.Connection, count: int) -> float:
        run = tables.run(status="completed", worker_id=None, available_at=None)
        for number in range(count):
            of_kind = {
                "kind": "signal-wait" if number % 2 else "function",
                "context": {"undo": True},
            }
            tables.step(run, step_name=f"s{number}", status="completed", **of_kind)
        new = json.dumps({"id": f"of {count}", "given": False})
        params = ("default", run, f"s{count // 2}")
        return rows_of(explained(conn, Use(name, params if name == "retry" else (*params, new), 0)))

    with connect.connect(database_url, application_name="owsuper test") as conn:
        conn.execute(b"SET plan_cache_mode = force_generic_plan")
        conn.execute(f"PREPARE {name} AS {load(name, schema).text}".encode())
        few, many = cost(conn, 50), cost(conn, 400)
    assert many <= 12 * few


def test_the_first_foreign_key_checks_use_the_primary_key(
    schema: str, conn: psycopg.Connection
) -> None:
    """They are PostgreSQL's own statements, and their plans are kept, too."""
    conn.execute("SET plan_cache_mode = force_generic_plan")
    for table in OPENWORKFLOW:
        check = (
            f'SELECT 1 FROM "{schema}".{table} WHERE namespace_id = $1 AND id = $2 FOR KEY SHARE'
        )
        conn.execute(f"PREPARE {table} AS {check}".encode())
        row = conn.execute(
            f"EXPLAIN (FORMAT JSON) EXECUTE {table}('default', 'x')".encode()
        ).fetchone()
        assert row
        [scan] = row[0][0]["Plan"]["Plans"]
        assert scan["Index Name"] == f"{table}_pkey"
        assert "Filter" not in scan


def test_every_statement_says_who_calls_it_which_index_it_uses_and_what_it_locks() -> None:
    for file in (sql_root() / "queries").iterdir():
        header = re.match(r"(--.*\n)+", file.read_text("utf-8"))
        assert header, file.name
        for word in ("Called by:", "Index:", "Locks:"):
            assert word in header[0], f"{file.name}: {word}"


def test_every_statement_on_runs_is_explained_here() -> None:
    named = {file.name.removesuffix(".sql") for file in (sql_root() / "queries").iterdir()}
    waiting = {name for name in named if name.startswith("wait_")}  # see test_waits
    limited = {name for name in named if "limited" in name}  # see test_plans_of_limits
    limited.add("take_turn")
    assert named - waiting - limited - NOT_HERE == {use.statement for use in USES}
