-- The child runs of some runs that have not ended.
--
-- Called by: clients, ClientQueries.open_children. $1 namespace, $2 run ids.
-- Returns the id of each child run.
--
-- Index: step_attempts_workflow_run_created_at_idx, workflow_runs_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT c.id
FROM unnest($2::text[]) AS r (id)
CROSS JOIN LATERAL (
    SELECT child_workflow_run_namespace_id AS namespace, child_workflow_run_id AS child
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND workflow_run_id = r.id AND kind = 'workflow'
    ORDER BY created_at
    OFFSET 0
) AS s
CROSS JOIN LATERAL (
    SELECT id, status
    FROM {schema}.workflow_runs
    WHERE namespace_id = s.namespace AND id >= s.child AND id <= s.child
    ORDER BY id
    LIMIT 1
) AS c
WHERE c.status IN ('pending', 'running', 'sleeping')
