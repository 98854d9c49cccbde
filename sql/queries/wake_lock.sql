-- Lock the waits for signals of a run that is to be woken, and then the run.
--
-- Called by: clients, ClientQueries.wake, in one transaction with wake, which then sees the latest
-- state of both. $1 namespace, $2 run id. Returns one row.
--
-- Senders of signals lock a step before its run, so this does, too.
--
-- Index: step_attempts_workflow_run_created_at_idx, step_attempts_pkey, workflow_runs_pkey.
-- Locks: the step attempts, FOR NO KEY UPDATE, in id order; then the run.
-- For the form of the conditions see commit.
WITH wait AS MATERIALIZED (
    SELECT s.id
    FROM (
        SELECT id, kind, status
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $2
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE s.kind = 'signal-wait' AND s.status = 'running'
    ORDER BY s.id
),
locked AS MATERIALIZED (
    SELECT s.id
    FROM wait AS w
    CROSS JOIN LATERAL (
        SELECT id
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= w.id AND id <= w.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS s
)
SELECT (
    SELECT id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2 AND (SELECT count(*) FROM locked) >= 0
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
)
