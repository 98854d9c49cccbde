-- Lock a run that is to be rerun, and its child runs that have not ended.
--
-- Called by: clients, ClientQueries.rerun, in one transaction with rerun, which then sees the latest
-- state. $1 namespace, $2 run id.
--
-- Index: workflow_runs_pkey, step_attempts_workflow_run_created_at_idx.
-- Locks: the run and these child runs, which may get another parent, FOR NO KEY UPDATE, in id order.
-- For the form of the conditions see commit.
WITH child AS MATERIALIZED (
    SELECT s.child AS id
    FROM (
        SELECT status, child_workflow_run_id AS child
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $2
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE s.status = 'running' AND s.child IS NOT NULL
)
SELECT r.id
FROM (SELECT $2::text AS id UNION SELECT id FROM child ORDER BY id) AS k
CROSS JOIN LATERAL (
    SELECT id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= k.id AND id <= k.id
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
) AS r
