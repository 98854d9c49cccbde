-- How long the last completed runs of some workflows took, and their versions.
--
-- Called by: the dashboard, WorkflowLists.statistics. $1 namespace, $2 workflow names (array), $3 the
-- first time of creation, $4 how many runs of a workflow to read at most: the newest.
-- Returns (name, runs, p50, p95, p99, versions) of each name: the durations in seconds, and a JSON
-- array of the versions. They are NULL if there are no such runs.
--
-- A run takes from its first claim, or else from its creation, to its end, waits included. After a
-- failure that is tried again, started_at is the claim since then; so for a run that was claimed more
-- than once, the beginning of its first step attempt counts, as in lists. A rerun has copies of
-- attempts that are older than it.
--
-- Index: workflow_runs_workflow_name_status_created_at_desc_idx, in its order, which no other index
-- has; step_attempts_workflow_run_created_at_idx, one row of it for each run. Locks: none.
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
            n.version,
            extract(
                epoch FROM n.finished_at - greatest(n.created_at, least(n.started_at, f.began_at))
            )::float8 AS seconds
        FROM (
            SELECT id, version, attempts, created_at, started_at, finished_at
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND workflow_name = w.name AND status = 'completed'
                AND created_at >= $3::timestamptz
            ORDER BY created_at DESC
            LIMIT $4::integer
        ) AS n
        LEFT JOIN LATERAL (
            SELECT coalesce(started_at, created_at) AS began_at
            FROM {schema}.step_attempts
            WHERE n.attempts > 1 AND namespace_id = $1 AND workflow_run_id = n.id
            ORDER BY created_at
            LIMIT 1
        ) AS f ON true
    ) AS newest
) AS r
