-- The step attempts of a run without their outputs and tracebacks, oldest first, with the state of
-- the child runs that they started.
--
-- Called by: the dashboard, RunPageQueries.attempts.
-- $1 namespace, $2 run id, $3 how many at most, $4 the most bytes that a context may take where it
-- is stored.
--
-- Attempts that a retry of the run has set aside are among them; the column before the last two
-- says when that was.
--
-- Index: step_attempts_workflow_run_created_at_idx; the primary key of our own table;
-- workflow_runs_pkey, for each child run. Locks: none.
-- For the form of the conditions see commit.
SELECT
    s.id, s.step_name, s.kind, s.status,
    CASE WHEN pg_column_size(s.context) <= $4::integer THEN s.context::text END,
    NULL,
    CASE
        WHEN s.error IS NULL THEN NULL
        ELSE json_build_object(
            'name', left(s.error ->> 'name', 100),
            'message', left(coalesce(s.error ->> 'message', s.error #>> '{}'), 500),
            'final', s.error -> 'final',
            'retryAt', s.error -> 'retryAt'
        )::text
    END,
    s.child_workflow_run_id, s.created_at, s.started_at, s.finished_at, s.retried_at,
    c.workflow_name, c.status
FROM (
    (
        SELECT
            id, step_name, kind, status, context, error, child_workflow_run_id, created_at,
            started_at, finished_at, NULL::timestamptz AS retried_at
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $2
        ORDER BY created_at
        LIMIT $3::integer
    )
    UNION ALL
    (
        SELECT
            id, step_name, kind, coalesce(status, 'failed'), context, error, child_workflow_run_id,
            created_at, started_at, finished_at, retried_at
        FROM {schema}.owsuper_retried_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $2
        LIMIT $3::integer
    )
) AS s
LEFT JOIN LATERAL (
    SELECT workflow_name, status
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= s.child_workflow_run_id AND id <= s.child_workflow_run_id
    ORDER BY id
    LIMIT 1
) AS c ON true
ORDER BY s.created_at, s.id
LIMIT $3::integer
