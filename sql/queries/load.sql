-- The history of a run, oldest first, and the number of its retried failures.
--
-- Called by: children, RunStore.load, before every execution except the first of a run.
-- $1 namespace, $2 run id, $3 how many rows at most.
-- Returns one row per step attempt, the number of failures in each; a run without attempts
-- gives one row of which only that number is set. The last seven columns are the child run
-- or the signal that a step attempt waits for (or the child run whose end made the step fail).
--
-- Index: step_attempts_workflow_run_created_at_idx, the primary keys,
-- workflow_signals_step_attempt_idx.
-- Locks: none.
SELECT
    f.failures, s.id, s.step_name, s.kind, s.status, s.context::text, s.output::text,
    s.error::text, s.created_at, s.started_at, s.finished_at,
    c.id, c.status, c.output::text, c.error::text, c.finished_at, d.id, d.data::text
FROM (
    SELECT count(*) AS failures
    FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id = $2
) AS f
LEFT JOIN LATERAL (
    SELECT *
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND workflow_run_id = $2
    ORDER BY created_at, started_at, id
    LIMIT $3::integer
) AS s ON true
LEFT JOIN LATERAL (
    SELECT id, status, output, error, finished_at
    FROM {schema}.workflow_runs
    WHERE s.kind = 'workflow' AND s.status IN ('running', 'failed')
        AND namespace_id = s.child_workflow_run_namespace_id
        AND id >= s.child_workflow_run_id AND id <= s.child_workflow_run_id
    ORDER BY id
    LIMIT 1
) AS c ON true
LEFT JOIN LATERAL (
    SELECT id, data
    FROM {schema}.workflow_signals
    WHERE s.kind = 'signal-wait' AND s.status = 'running'
        AND namespace_id = $1 AND step_attempt_id = s.id
) AS d ON true
ORDER BY s.created_at, s.started_at, s.id
