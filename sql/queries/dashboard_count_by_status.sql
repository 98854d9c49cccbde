-- As dashboard_count_runs, of the runs that have one of several statuses.
--
-- Called by: the dashboard, RunLists.count, with a status.
-- $1 namespace, $2 the first and $3 the last time of creation, $4 version or NULL, $5 and $6 the
-- first and the last time of the end or NULL, $7 statuses (array), $8 workflow name or NULL, $9 how
-- many runs of each status to read at most.
-- Returns one row: how many runs were read, the newest first, and how many of them match.
--
-- Index: workflow_runs_status_created_at_desc_idx, in its order (fragments/of_status).
-- Locks: none.
SELECT count(*), count(*) FILTER (
    WHERE {fragments/dashboard_matches}
)
FROM unnest($7::text[]) AS s (status)
CROSS JOIN LATERAL (
    SELECT status, workflow_name, version, finished_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND {fragments/of_status}
        AND created_at >= $2::timestamptz AND created_at <= $3::timestamptz
    ORDER BY created_at DESC
    LIMIT $9::integer
) AS r
