-- More of the history of a run than load has read, oldest first.
--
-- Called by: children, RunStore.load, for runs with thousands of step attempts.
-- $1 namespace, $2 run id, $3 how many rows at most, $4 the creation time from which on to read,
-- $5 how many of that time have been read already.
-- Returns one row per step attempt, without those that a crash abandoned: a function that began
-- and never ended. Nothing is decided by them, and nothing limits how many there are.
--
-- Index: step_attempts_workflow_run_created_at_idx.
-- Locks: none.
SELECT
    id, step_name, kind, status, context::text, output::text, error::text, created_at,
    started_at, finished_at
FROM {schema}.step_attempts
WHERE namespace_id = $1 AND workflow_run_id = $2 AND created_at >= $4::timestamptz
    AND (kind <> 'function' OR status IN ('completed', 'succeeded', 'failed'))
ORDER BY created_at, started_at, id
LIMIT $3::integer OFFSET $5::integer
