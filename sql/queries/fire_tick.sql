-- Decide about one tick of a schedule, start its run if it is to have one, and move the schedule on.
--
-- Called by: the supervisor, ScheduleDuty. $1 namespace, $2 name of the schedule, $3 its next_at (or the
-- first of its queue, with $7) as it was read, $4 the tick to fire (NULL: it was missed), $5 the next
-- tick (NULL: there is none), $6 id of the run, $7 whether the tick comes from the queue, $8 its
-- idempotency key, $9 the seconds after which the run is due, $10 how many ticks to remember.
-- Returns the outcome of the tick; no row if somebody else has decided about it, or does so now.
--
-- Whoever comes second finds another next_at. If the schedule has changed since this statement began,
-- nothing is decided: the lock finds its new row, but not a run that was started with it, so that two
-- runs might overlap. A run of the tick that exists, because the tick was backfilled, stays the only
-- one. A run that has continued as new goes on as its successor. One that does so at this moment, and
-- was to be canceled, is remembered: the next tick cancels the successor.
--
-- Index: primary keys. Locks: the schedule; runs that are canceled, in id order. For the form of the
-- conditions see commit.
WITH RECURSIVE seen AS MATERIALIZED (
    SELECT ctid AS place
    FROM {schema}.owsuper_schedules
    WHERE namespace_id = $1 AND name = $2
),
locked AS MATERIALIZED (
    SELECT *, ctid AS place
    FROM {schema}.owsuper_schedules
    WHERE namespace_id = $1 AND name = $2 AND paused_at IS NULL AND removed_at IS NULL
        AND CASE
            WHEN $7::boolean THEN queued[1] = $3::timestamptz
            ELSE next_at = $3::timestamptz AND next_at <= now()
        END
    FOR UPDATE SKIP LOCKED
),
schedule AS MATERIALIZED (
    SELECT l.* FROM locked AS l JOIN seen AS s ON s.place = l.place
),
latest AS (
    SELECT o.run, o.number
    FROM schedule AS s
    CROSS JOIN unnest(s.open_runs) WITH ORDINALITY AS o (run, number)
    UNION ALL
    SELECT r.successor, l.number
    FROM latest AS l
    CROSS JOIN LATERAL (
        SELECT context ->> 'continuedAs' AS successor
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= l.run AND id <= l.run
        ORDER BY id
        LIMIT 1
    ) AS r
    WHERE r.successor IS NOT NULL
),
open AS MATERIALIZED (
    SELECT r.id, o.number
    FROM latest AS o
    CROSS JOIN LATERAL (
        SELECT id, status
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= o.run AND id <= o.run
        ORDER BY id
        LIMIT 1
    ) AS r
    WHERE r.status IN ('pending', 'running', 'sleeping')
),
tick AS MATERIALIZED (
    SELECT
        s.*, coalesce($4::timestamptz, $3::timestamptz) AS at,
        CASE
            WHEN $4::timestamptz IS NULL THEN 'missed'
            WHEN EXISTS (
                SELECT FROM {schema}.owsuper_paused_workflows AS p
                WHERE p.namespace_id = $1 AND p.workflow_name = s.workflow_name
            ) THEN CASE WHEN $7::boolean THEN 'queued' ELSE 'paused' END
            WHEN s.overlap IN ('allow', 'cancel_running') THEN 'fired'
            WHEN $7::boolean THEN CASE WHEN EXISTS (SELECT FROM open) THEN 'queued' ELSE 'fired' END
            WHEN NOT EXISTS (SELECT FROM open) AND s.queued = '{}' THEN 'fired'
            WHEN s.overlap = 'queue' AND cardinality(s.queued) < s.catch_up_limit THEN 'queued'
            ELSE 'skipped'
        END AS outcome
    FROM schedule AS s
),
ended AS MATERIALIZED (
    SELECT r.id AS run
    FROM (
        SELECT o.id
        FROM tick AS t
        CROSS JOIN open AS o
        WHERE t.overlap = 'cancel_running' AND t.outcome = 'fired' AND o.id <> $6
        ORDER BY o.id
    ) AS o
    CROSS JOIN LATERAL (
        SELECT id, status
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= o.id AND id <= o.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
    WHERE r.status IN ('pending', 'running', 'sleeping')
),
canceled AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, run, '', '', '{}', 0, now(), now() FROM ended
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = 'canceled',
        worker_id = NULL,
        available_at = NULL,
        finished_at = now(),
        updated_at = now()
),
{fragments/forget_counts},
started AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, idempotency_key, config, input,
        attempts, available_at, created_at, updated_at
    )
    SELECT
        $1, $6, workflow_name, version, 'pending', $8, config,
        CASE
            WHEN takes_tick THEN jsonb_build_object(
                'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'previous', to_char(previous_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'schedule', name
            )
            ELSE input
        END,
        0,
        CASE
            WHEN at + $9::double precision * interval '1 second' > now()
                THEN at + $9::double precision * interval '1 second'
            ELSE {fragments/due_by_priority}
        END,
        date_trunc('milliseconds', now()), now()
    FROM tick
    WHERE outcome = 'fired'
    ON CONFLICT (namespace_id, id) DO NOTHING
),
moved AS (
    UPDATE {schema}.owsuper_schedules AS s
    SET next_at = CASE WHEN $7::boolean THEN s.next_at ELSE $5::timestamptz END,
        previous_at = CASE
            WHEN t.outcome = 'fired' THEN greatest(s.previous_at, t.at) ELSE s.previous_at
        END,
        queued = CASE
            WHEN $7::boolean AND t.outcome = 'fired' THEN s.queued[2:]
            WHEN NOT $7::boolean AND t.outcome = 'queued' THEN s.queued || t.at
            ELSE s.queued
        END,
        open_runs = ARRAY(
            SELECT id FROM open
            WHERE id <> $6 AND id NOT IN (SELECT run FROM ended)
            ORDER BY number DESC
            LIMIT 99
        ) || CASE WHEN t.outcome = 'fired' THEN ARRAY[$6] ELSE '{}' END,
        updated_at = now()
    FROM tick AS t
    WHERE s.namespace_id = $1 AND s.name = $2
),
noted AS (
    INSERT INTO {schema}.owsuper_ticks AS n (namespace_id, schedule, at, outcome, run_id)
    SELECT $1, name, at, outcome, CASE WHEN outcome = 'fired' THEN $6 END
    FROM tick
    UNION ALL
    -- Of those that are left out before it, the first.
    SELECT $1, name, $3::timestamptz, 'missed', NULL
    FROM tick
    WHERE NOT $7::boolean AND at > $3::timestamptz
    ON CONFLICT (namespace_id, schedule, at) DO UPDATE
    SET outcome = excluded.outcome, run_id = excluded.run_id, decided_at = excluded.decided_at
    WHERE n.outcome <> 'fired' AND (excluded.outcome <> 'missed' OR n.run_id IS NULL)
),
forgotten AS (
    DELETE FROM {schema}.owsuper_ticks
    WHERE namespace_id = $1 AND schedule = $2 AND EXISTS (SELECT FROM tick) AND at < (
        SELECT at
        FROM {schema}.owsuper_ticks
        WHERE namespace_id = $1 AND schedule = $2
        ORDER BY at DESC
        OFFSET $10::integer
        LIMIT 1
    )
)
SELECT outcome FROM tick
