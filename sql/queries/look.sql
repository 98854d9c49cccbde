-- What has come of that which a step attempt waits for: the child that it has started, or the
-- signal that was delivered to it.
--
-- Called by: children, RunStore.look. $1 namespace, $2 id of the step attempt.
-- Returns one row, whose columns are those that load adds to a step attempt; none if there is no
-- such attempt.
--
-- Index: primary keys, workflow_signals_step_attempt_idx. Locks: none.
SELECT c.id, c.status, c.output::text, c.error::text, c.finished_at, d.id IS NOT NULL, d.data::text
FROM {schema}.step_attempts AS s
LEFT JOIN {schema}.workflow_runs AS c
    ON c.namespace_id = s.child_workflow_run_namespace_id AND c.id = s.child_workflow_run_id
LEFT JOIN {schema}.workflow_signals AS d
    ON d.namespace_id = s.namespace_id AND d.step_attempt_id = s.id
WHERE s.namespace_id = $1 AND s.id = $2
