-- How many runs the filters of the dashboard find, counted up to a bound.
--
-- Called by: the dashboard, RunLists.count, without a filter that an index serves better.
-- $1 namespace, $2 the first and $3 the last time of creation, $4 version or NULL, $5 and $6 the
-- first and the last time of the end or NULL, $7 statuses (array), $8 workflow name or NULL, $9 how
-- many runs to read at most.
-- Returns one row: how many runs were read, the newest first, and how many of them match.
--
-- Index: workflow_runs_created_at_desc_idx, in its order, which no other index has. Locks: none.
SELECT count(*), count(*) FILTER (
    WHERE {fragments/dashboard_matches}
)
FROM (
    SELECT status, workflow_name, version, finished_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND created_at >= $2::timestamptz AND created_at <= $3::timestamptz
    ORDER BY created_at DESC
    LIMIT $9::integer
) AS r
