-- Delete ended runs, with all that belongs to them.
--
-- Called by: whoever deletes old runs, PruneQueries.delete, with what prune_find found. $1 namespace,
-- $2 runs (JSON array of objects: id, last, the run with which it is deleted, often itself, and
-- the seconds to keep).
-- Returns one row: a JSON array of the ids that were deleted.
--
-- What prune_find asked is asked again, of the locked rows: a run may have been retried meanwhile.
-- A run that another transaction has changed since this statement began stays until the next time:
-- the lock finds its new row, and the deletion would only see the old one.
-- Nor is a run deleted that somebody else holds, or waits for: who waits holds a lock (0004_results).
-- Whether somebody does is asked for one run after the other, because a server has room for some
-- thousands of such locks, or fewer. Who comes to wait later finds that the run has ended.
-- A run and what belongs to it go in one statement, so a crash leaves both or neither.
-- Step attempts go by the foreign key. Post-mortems, log lines, progress and attributes go by the
-- trigger owsuper_deleted. The entries of owsuper_audit stay.
-- The flush to disk is skipped: what a crash of the server brings back is deleted later.
--
-- Index: workflow_runs_pkey, step_attempts_workflow_run_created_at_idx,
-- workflow_signals_step_attempt_idx, those of fragments/prune_held, the primary keys of our tables.
-- Locks: the runs, FOR UPDATE, without waiting; their step attempts; child runs and step attempts that
-- lose their link to a deleted row, for 0.2 s at most: then nothing is deleted.
-- For the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS a (id text, last text, keep double precision)
    WHERE (
        SELECT set_config('lock_timeout', '200', true) || set_config('synchronous_commit', 'off', true)
    ) IS NOT NULL
),
held AS MATERIALIZED (
    SELECT a.last, a.keep, r.*
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT ctid AS place
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= a.id AND id <= a.id
        ORDER BY id
        LIMIT 1
    ) AS seen
    CROSS JOIN LATERAL (
        SELECT
            ctid AS place, id, status, created_at, finished_at, updated_at, idempotency_key,
            CASE
                WHEN a.id = a.last OR jsonb_typeof(context) <> 'object' THEN context
                ELSE context - 'continuedAs'
            END AS context,
            parent_step_attempt_namespace_id, parent_step_attempt_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= a.id AND id <= a.id
        ORDER BY id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS r
    WHERE r.place = seen.place
),
good AS MATERIALIZED (
    SELECT r.id, r.last, r.place
    FROM held AS r
    WHERE r.status IN ('completed', 'succeeded', 'failed', 'canceled')
        AND coalesce(r.finished_at, r.updated_at) < now() - r.keep * interval '1 second'
        AND NOT {fragments/prune_held}
        AND CASE
            WHEN pg_try_advisory_lock(
                hashtextextended(concat('owsuper:result:', $1::text, ':', r.id), 0)
            )
                THEN pg_advisory_unlock(
                    hashtextextended(concat('owsuper:result:', $1::text, ':', r.id), 0)
                )
            ELSE false
        END
),
doomed AS MATERIALIZED (
    SELECT g.id, g.place
    FROM good AS g
    WHERE EXISTS (SELECT FROM good AS l WHERE l.id = g.last)
),
wait AS MATERIALIZED (
    SELECT s.id
    FROM doomed AS d
    CROSS JOIN LATERAL (
        SELECT id, kind
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = d.id
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE s.kind = 'signal-wait'
),
further AS (
    DELETE FROM {schema}.owsuper_further_signals
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT id FROM doomed))
    RETURNING id
),
signals AS (
    DELETE FROM {schema}.workflow_signals
    WHERE ctid = ANY (ARRAY(
        SELECT d.place
        FROM wait AS w
        CROSS JOIN LATERAL (
            SELECT ctid AS place
            FROM {schema}.workflow_signals
            WHERE namespace_id = $1 AND step_attempt_id >= w.id AND step_attempt_id <= w.id
            ORDER BY step_attempt_id
            LIMIT 1
        ) AS d
    ))
),
set_aside AS (
    DELETE FROM {schema}.workflow_signals
    WHERE ctid = ANY (ARRAY(
        SELECT d.place
        FROM further AS f
        CROSS JOIN LATERAL (
            SELECT ctid AS place, step_attempt_id
            FROM {schema}.workflow_signals
            WHERE namespace_id = $1 AND id >= f.id AND id <= f.id
            ORDER BY id
            LIMIT 1
        ) AS d
        WHERE d.step_attempt_id <> ALL (ARRAY(SELECT id FROM wait))
    ))
),
retries AS (
    DELETE FROM {schema}.owsuper_retries
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT id FROM doomed))
),
retried AS (
    DELETE FROM {schema}.owsuper_retried_attempts
    WHERE ctid = ANY (ARRAY(
        SELECT a.place
        FROM doomed AS d
        CROSS JOIN LATERAL (
            SELECT ctid AS place
            FROM {schema}.owsuper_retried_attempts
            WHERE namespace_id = $1 AND workflow_run_id >= d.id AND workflow_run_id <= d.id
            ORDER BY workflow_run_id
        ) AS a
    ))
),
failures AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT id FROM doomed))
),
crashes AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT id FROM doomed))
),
runs AS (
    DELETE FROM {schema}.workflow_runs WHERE ctid = ANY (ARRAY(SELECT place FROM doomed))
)
SELECT coalesce(json_agg(id), '[]')::text FROM doomed
