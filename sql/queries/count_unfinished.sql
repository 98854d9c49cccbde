-- The number of runs of a namespace that have not ended, by status, up to a limit for each.
--
-- Called by: QueueStateQueries.unfinished, for the metrics of a dashboard. $1 namespace, $2 limit.
-- Returns one row with one column, a JSON object of numbers by status.
--
-- Index: workflow_runs_status_created_at_desc_idx, at most $2 entries of each status, in its order
-- (fragments/of_status). Locks: none.
SELECT json_object_agg(s.status, r.count)::text
FROM (VALUES ('pending'), ('running'), ('sleeping')) AS s (status)
CROSS JOIN LATERAL (
    SELECT count(*)
    FROM (
        SELECT created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND {fragments/of_status}
        ORDER BY created_at DESC
        LIMIT $2::integer
    ) AS runs
) AS r
