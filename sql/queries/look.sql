-- The child run or the signal that a step attempt waits for.
--
-- Called by: children, RelatedStore.look. $1 namespace, $2 id of the step attempt.
-- Returns one row with the columns that load adds to a step attempt; no row if there is no such
-- attempt.
--
-- Index: primary keys, workflow_signals_step_attempt_idx. Locks: none.
-- For the form of the conditions see commit.
SELECT c.id, c.status, c.output::text, c.error::text, c.finished_at, d.id, d.data::text
FROM (
    SELECT id, child_workflow_run_namespace_id AS namespace, child_workflow_run_id AS child
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
) AS s
LEFT JOIN LATERAL (
    SELECT id, status, output, error, finished_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = s.namespace AND id >= s.child AND id <= s.child
    ORDER BY id
    LIMIT 1
) AS c ON true
LEFT JOIN LATERAL (
    SELECT id, data
    FROM {schema}.workflow_signals
    WHERE namespace_id = $1 AND step_attempt_id = s.id
) AS d ON true
