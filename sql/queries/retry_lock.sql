-- Lock a run that is to be retried, and the child runs of the step attempts that are set aside.
--
-- Called by: clients, ClientQueries.retry, in one transaction with retry, which then sees the
-- latest state of the run. $1 namespace, $2 run id, $3 the step from which to retry, or NULL.
--
-- Index: workflow_runs_pkey, step_attempts_pkey, those of fragments/set_aside.
-- Locks: the run and these child runs, FOR NO KEY UPDATE, in id order: a child run loses its parent
-- when its step attempt is deleted. With a step, also the parent of the run, which must not take its
-- result meanwhile. For the form of the conditions see commit.
WITH {fragments/set_aside},
related AS MATERIALIZED (
    SELECT child AS id FROM attempt WHERE aside AND child IS NOT NULL
    UNION ALL
    SELECT s.workflow_run_id
    FROM (
        SELECT parent_step_attempt_id AS step
        FROM {schema}.workflow_runs
        WHERE $3::text IS NOT NULL AND namespace_id = $1 AND id >= $2 AND id <= $2
        ORDER BY id
        LIMIT 1
    ) AS r
    CROSS JOIN LATERAL (
        SELECT workflow_run_id
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= r.step AND id <= r.step
        ORDER BY id
        LIMIT 1
    ) AS s
)
SELECT r.id
FROM (SELECT $2::text AS id UNION SELECT id FROM related ORDER BY id) AS k
CROSS JOIN LATERAL (
    SELECT id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= k.id AND id <= k.id
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
) AS r
