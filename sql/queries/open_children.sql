-- The children of some runs that have not ended.
--
-- Called by: clients, ClientQueries.open_children. $1 namespace, $2 run ids.
-- Returns the id of each.
--
-- Index: step_attempts_workflow_run_created_at_idx, workflow_runs_pkey. Locks: none.
SELECT c.id
FROM {schema}.step_attempts AS s
JOIN {schema}.workflow_runs AS c
    ON c.namespace_id = s.child_workflow_run_namespace_id AND c.id = s.child_workflow_run_id
WHERE s.namespace_id = $1 AND s.workflow_run_id = ANY ($2) AND s.kind = 'workflow'
    AND c.status IN ('pending', 'running', 'sleeping')
