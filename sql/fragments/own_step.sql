-- CTE "mine": the running step attempt $4 of the run $2, if the worker $3 holds the claim.
--
-- Needs: $1 namespace, $2 run id, $3 worker id (the fence), $4 id of the step attempt.
-- Index: workflow_runs_pkey, step_attempts_pkey.
-- Locks: the run, FOR NO KEY UPDATE.
-- For the form of the conditions see commit.
mine AS MATERIALIZED (
    SELECT step_name
    FROM (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= $2 AND id <= $2
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
    CROSS JOIN LATERAL (
        SELECT status AS step_status, step_name
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= $4 AND id <= $4
        ORDER BY id
        LIMIT 1
    ) AS s
    WHERE status = 'running' AND worker_id = $3 AND step_status = 'running'
)
