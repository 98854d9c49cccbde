-- Make parents due whose child run has ended without waking them: a worker of OpenWorkflow for
-- TypeScript ends a run and wakes its parent in two steps, and may die in between.
--
-- Called by: the supervisor, SweepQueries.wake_missed_parents, on a timer.
-- $1 namespace, $2 run and $3 step attempt to begin after, $4 how many step attempts at most.
-- Returns first a row (run, step attempt) to begin after the next time, empty texts at the end of
-- all; then (parent, child) of each run that is due now.
--
-- A parent that was written after the end of the child run has seen it: its code may wait for the
-- child run no more, so that it must not be executed again and again. A parent that is due within
-- ten seconds is left alone: its wake-up may be delayed, see migration waiting_parents.
-- The flush to disk is skipped: if a server crash loses this, it is done again.
--
-- Index: owsuper_child_waits_idx, in its order, which holds only waits for child runs;
-- workflow_runs_pkey. Locks: the parents, FOR NO KEY UPDATE; locked rows are skipped.
-- For the form of the conditions see commit.
WITH wait AS MATERIALIZED (
    SELECT workflow_run_id AS run, id AS step, child_workflow_run_id AS child
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND kind = 'workflow' AND status = 'running'
        AND (workflow_run_id, id) > ($2::text, $3::text)
        AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    ORDER BY namespace_id, workflow_run_id, id
    LIMIT $4::integer
),
ended AS MATERIALIZED (
    SELECT w.run, min(w.child) AS child, max(c.at) AS at
    FROM wait AS w
    CROSS JOIN LATERAL (
        SELECT status, coalesce(finished_at, updated_at) AS at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= w.child AND id <= w.child
        ORDER BY id
        LIMIT 1
    ) AS c
    WHERE c.status IN ('completed', 'succeeded', 'failed', 'canceled')
    GROUP BY w.run
),
missed AS MATERIALIZED (
    SELECT e.run, e.child
    FROM ended AS e
    CROSS JOIN LATERAL (
        SELECT status, worker_id, available_at, updated_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= e.run AND id <= e.run
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
    WHERE (r.status = 'sleeping' OR (r.status = 'running' AND r.worker_id IS NULL))
        AND (r.available_at IS NULL OR r.available_at > now() + interval '10 s')
        AND (
            r.updated_at <= e.at
            OR (r.updated_at <= e.at + interval '5 s' AND e.at < now() - interval '5 s')
        )
),
woken AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, run, '', '', '{}', 0, now(), now() FROM missed
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = now(), updated_at = now()
)
SELECT l.run, l.step
FROM (
    SELECT
        CASE WHEN full_page THEN run ELSE '' END AS run,
        CASE WHEN full_page THEN step ELSE '' END AS step
    FROM (SELECT count(*) >= $4::integer AS full_page FROM wait) AS c
    LEFT JOIN LATERAL (SELECT run, step FROM wait ORDER BY run DESC, step DESC LIMIT 1) AS w ON true
) AS l
UNION ALL
SELECT run, child FROM missed
