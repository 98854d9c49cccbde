-- Start runs of a schedule by hand: one now, or those of ticks that are past.
--
-- Called by: clients, ScheduleStore.trigger and backfill. $1 namespace, $2 name of the schedule, $3 runs
-- (JSON array of id, and at, previous, key for a past tick).
-- Returns whether there is such a schedule, then the ids of the runs that were started: a tick that has
-- a run gets no other. (It may be repeated; then the ids of one that was triggered are in doubt.)
--
-- Index: primary keys. Locks: the schedule, so that a tick is not decided about meanwhile.
WITH schedule AS MATERIALIZED (
    SELECT *
    FROM {schema}.owsuper_schedules
    WHERE namespace_id = $1 AND name = $2
    FOR UPDATE
),
run AS MATERIALIZED (
    SELECT
        s.*, g.id AS run, g.key, g.at IS NULL AS triggered,
        coalesce(g.at, date_trunc('second', now())) AS tick,
        CASE WHEN g.at IS NULL THEN s.previous_at ELSE g.previous END AS before
    FROM schedule AS s
    CROSS JOIN json_to_recordset($3::json) AS g (
        id text, at timestamptz, previous timestamptz, key text
    )
),
started AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, idempotency_key, config, input,
        attempts, available_at, created_at, updated_at
    )
    SELECT
        $1, run, workflow_name, version, 'pending', key, config,
        CASE
            WHEN takes_tick THEN jsonb_build_object(
                'at', to_char(tick AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'previous', to_char(before AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'schedule', name
            )
            ELSE input
        END,
        0, {fragments/due_by_priority}, date_trunc('milliseconds', now()), now()
    FROM run
    ORDER BY tick
    ON CONFLICT (namespace_id, id) DO NOTHING
    RETURNING id
),
noted AS (
    INSERT INTO {schema}.owsuper_ticks AS n (namespace_id, schedule, at, outcome, run_id)
    SELECT
        $1, r.name, r.tick, CASE WHEN r.triggered THEN 'triggered' ELSE 'backfilled' END, r.run
    FROM run AS r
    JOIN started AS s ON s.id = r.run
    ON CONFLICT (namespace_id, schedule, at) DO UPDATE
    SET outcome = excluded.outcome, run_id = excluded.run_id, decided_at = excluded.decided_at
    WHERE n.run_id IS NULL
),
told AS (
    UPDATE {schema}.owsuper_schedules AS s
    SET previous_at = greatest(
            s.previous_at, (SELECT max(tick) FROM run WHERE NOT triggered AND tick < s.next_at)
        ),
        open_runs = s.open_runs[greatest(1, cardinality(s.open_runs) - 98):] || ARRAY(
            SELECT r.run FROM run AS r JOIN started AS n ON n.id = r.run WHERE r.triggered
        )
    WHERE s.namespace_id = $1 AND s.name = $2
)
SELECT name FROM schedule
UNION ALL
SELECT id FROM started
