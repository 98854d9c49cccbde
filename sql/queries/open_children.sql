-- The children of some runs that have not ended.
--
-- Called by: clients, ClientQueries.open_children. $1 namespace, $2 run ids.
-- Returns the id of each.
--
-- Index: step_attempts_workflow_run_created_at_idx, workflow_runs_pkey. Locks: none.
-- About the form of the conditions see commit.
SELECT c.id
FROM {schema}.step_attempts AS s
CROSS JOIN LATERAL (
    SELECT id, status
    FROM {schema}.workflow_runs
    WHERE namespace_id = s.child_workflow_run_namespace_id
        AND id >= s.child_workflow_run_id AND id <= s.child_workflow_run_id
    ORDER BY id
    LIMIT 1
) AS c
WHERE s.namespace_id = $1 AND s.workflow_run_id = ANY ($2) AND s.kind = 'workflow'
    AND c.status IN ('pending', 'running', 'sleeping')
