-- Which workflows the newest failed runs are of.
--
-- Called by: the dashboard, OverviewQueries.failures. $1 namespace, $2 the first time of creation,
-- $3 how many failed runs to read at most: the newest.
-- Returns (workflow, count, the latest time of creation, the id of the latest), the most first.
--
-- Index: workflow_runs_status_created_at_desc_idx, in its order, which no other index has.
-- Locks: none.
SELECT
    workflow_name, count(*), max(created_at),
    (array_agg(id ORDER BY created_at DESC, id DESC))[1]
FROM (
    SELECT workflow_name, id, created_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND status = 'failed' AND created_at >= $2::timestamptz
    ORDER BY created_at DESC
    LIMIT $3::integer
) AS newest
GROUP BY workflow_name
ORDER BY 2 DESC, 1
