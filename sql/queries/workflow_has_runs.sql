-- Whether a workflow has runs, in whichever version.
--
-- Called by: clients, PauseQueries.has_runs. $1 namespace, $2 name of the workflow.
-- Returns one row if it has: the name.
--
-- Index: workflow_runs_workflow_name_idempotency_key_created_at_idx, in its order. Locks: none.
SELECT workflow_name
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND workflow_name = $2
ORDER BY workflow_name, idempotency_key, created_at
LIMIT 1
