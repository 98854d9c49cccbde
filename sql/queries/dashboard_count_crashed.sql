-- As dashboard_count_runs, of the runs that were given up because they kept killing their process.
--
-- Called by: the dashboard, RunLists.count, with crashed.
-- $1 namespace, $2 the first and $3 the last time of creation, $4 version or NULL, $5 and $6 the
-- first and the last time of the end or NULL, $7 statuses (array), $8 workflow name or NULL, $9 how
-- many runs to read at most.
-- Returns one row: how many runs were read, the newest first, and how many of them match.
--
-- Index: owsuper_post_mortems_given_up_idx, in its order; workflow_runs_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT count(*), count(*) FILTER (
    WHERE {fragments/dashboard_matches}
)
FROM (
    SELECT workflow_run_id AS run
    FROM {schema}.owsuper_post_mortems
    WHERE namespace_id = $1 AND given_up
        AND run_created_at >= $2::timestamptz AND run_created_at <= $3::timestamptz
    ORDER BY run_created_at DESC, workflow_run_id DESC
    LIMIT $9::integer
) AS d
CROSS JOIN LATERAL (
    SELECT status, workflow_name, version, finished_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= d.run AND id <= d.run
    ORDER BY id
    LIMIT 1
) AS r
