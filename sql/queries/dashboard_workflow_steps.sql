-- How long the steps of the last runs of a workflow took, and how often they failed.
--
-- Called by: the dashboard, WorkflowLists.steps. $1 namespace, $2 workflow name, $3 the first time of
-- creation, $4 how many completed or failed runs to read at most: the newest. $5 how many step
-- attempts of a run to read at most: the oldest.
-- Returns (name, kind, attempts, failed, p50, p95, longest) of the steps, the slowest first; the
-- durations in seconds, of attempts that have ended. The steps of one name in a run ("charge",
-- "charge:1") count as one.
--
-- Index: workflow_runs_workflow_name_status_created_at_desc_idx and
-- step_attempts_workflow_run_created_at_idx, in their orders. Locks: none.
SELECT
    a.name, a.kind, count(*), count(*) FILTER (WHERE a.status = 'failed'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY a.seconds),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY a.seconds) AS p95,
    max(a.seconds)
FROM (
    SELECT n.id
    FROM unnest(ARRAY['completed', 'failed']) AS s (status)
    CROSS JOIN LATERAL (
        SELECT id, created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = $2 AND status = s.status
            AND created_at >= $3::timestamptz
        ORDER BY created_at DESC
        LIMIT $4::integer
    ) AS n
    ORDER BY n.created_at DESC
    LIMIT $4::integer
) AS r
CROSS JOIN LATERAL (
    SELECT
        regexp_replace(step_name, ':\d+$', '') AS name, kind, status,
        extract(epoch FROM finished_at - coalesce(started_at, created_at))::float8 AS seconds
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND workflow_run_id = r.id
    ORDER BY created_at
    LIMIT $5::integer
) AS a
GROUP BY a.name, a.kind
ORDER BY p95 DESC NULLS LAST, a.name
LIMIT 500
