-- The history of a run, oldest first, the number of its retried failures, and whether the claim is
-- still good: a crash of the server may have lost the claim, and this may have waited for its end.
--
-- Called by: children, RunStore.load, before every execution except the first of a run.
-- $1 namespace, $2 run id, $3 how many rows at most, $4 worker id of the claim.
-- Returns one row per step attempt, the number of failures and the state of the claim in each; a run
-- without attempts gives one row of which only these are set. The last seven columns are the child run
-- or the signal that a step attempt waits for (or the child run whose end made the step fail).
--
-- Index: step_attempts_workflow_run_created_at_idx, the primary keys (for the form of that of the run
-- see commit),
-- workflow_signals_step_attempt_idx.
-- Locks: none.
SELECT
    f.failures, f.held, s.id, s.step_name, s.kind, s.status, s.context::text, s.output::text,
    s.error::text, s.created_at, s.started_at, s.finished_at,
    c.id, c.status, c.output::text, c.error::text, c.finished_at, d.id, d.data::text
FROM (
    SELECT
        count(*) AS failures,
        coalesce((
            SELECT status = 'running' AND worker_id = $4
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND id >= $2 AND id <= $2
            ORDER BY id
            LIMIT 1
        ), false) AS held
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
