-- The history of a run, oldest first, and how often its body failed and was retried.
--
-- Called by: children, RunStore.load, before every pass but a run's first.
-- $1 namespace, $2 run id, $3 how many rows at most.
-- Returns one row per step attempt, the number of failures in each; a run without attempts
-- gives one row of which only that number is set.
--
-- Index: step_attempts_workflow_run_created_at_idx, the primary key of owsuper_failures.
-- Locks: none.
SELECT
    f.failures, s.id, s.step_name, s.kind, s.status, s.context::text, s.output::text,
    s.error::text, s.created_at, s.started_at, s.finished_at
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
