-- More of the history of a run than load has read, oldest first.
--
-- Called by: children, RunStore.load, for runs with thousands of step attempts.
-- $1 namespace, $2 run id, $3 how many rows at most, $4 the creation time from which on to read,
-- $5 how many of that time have been read already.
-- Returns one row per step attempt, without attempts that a crash abandoned: a function step or a
-- sending that began and never ended. Replay ignores them, and their number has no limit.
-- The last seven columns are those of load.
--
-- Index: step_attempts_workflow_run_created_at_idx, the primary keys,
-- workflow_signals_step_attempt_idx.
-- Locks: none.
SELECT
    s.id, s.step_name, s.kind, s.status, s.context::text, s.output::text, s.error::text,
    s.created_at, s.started_at, s.finished_at,
    c.id, c.status, c.output::text, c.error::text, c.finished_at, d.id, d.data::text
FROM (
    SELECT *
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND workflow_run_id = $2 AND created_at >= $4::timestamptz
        AND (
            kind NOT IN ('function', 'signal-send')
            OR status IN ('completed', 'succeeded', 'failed')
        )
    ORDER BY created_at, started_at, id
    LIMIT $3::integer OFFSET $5::integer
) AS s
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
