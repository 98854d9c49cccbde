-- How many runs the planner expects the filters of the dashboard to find.
--
-- Called by: the dashboard, RunLists.count, for the case that there are more than it counts.
-- Parameters as in dashboard_count_runs, without $9. Returns the plan as JSON; the estimate stands
-- in it.
--
-- The planner takes it from the statistics of the last ANALYZE and the present size of the table.
-- Index: none; this reads no table. Locks: none.
EXPLAIN (FORMAT JSON)
SELECT FROM {schema}.workflow_runs AS r
WHERE namespace_id = $1 AND created_at >= $2::timestamptz AND created_at <= $3::timestamptz
    AND {fragments/dashboard_matches}
