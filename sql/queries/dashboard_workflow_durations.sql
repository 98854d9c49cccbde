-- How long the last completed runs of some workflows took, and their versions.
--
-- Called by: the dashboard, WorkflowLists.statistics. $1 namespace, $2 workflow names (array), $3 the
-- first time of creation, $4 how many runs of a workflow to read at most: the newest.
-- Returns (name, runs, p50, p95, p99, versions) of each name: the durations in seconds, and a JSON
-- array of the versions. They are NULL if there are no such runs.
--
-- A run takes from its first claim, or else from its creation, to its end, waits included.
--
-- Index: workflow_runs_workflow_name_status_created_at_desc_idx, in its order, which no other index
-- has. Locks: none.
SELECT w.name, r.*
FROM unnest($2::text[]) AS w (name)
CROSS JOIN LATERAL (
    SELECT
        count(*),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds),
        percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds),
        json_agg(DISTINCT version)
    FROM (
        SELECT
            version,
            extract(epoch FROM finished_at - coalesce(started_at, created_at))::float8 AS seconds
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = w.name AND status = 'completed'
            AND created_at >= $3::timestamptz
        ORDER BY created_at DESC
        LIMIT $4::integer
    ) AS newest
) AS r
