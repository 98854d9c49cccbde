-- As dashboard_count_runs, of the runs that have some attributes.
--
-- Called by: the dashboard, RunLists.count, with attributes.
-- $1 to $9 and the result as in dashboard_count_runs, $10 name of one of the attributes, $11 its value,
-- $12 the other attributes (JSON object), $13 whether only those that were given up because they kept killing
-- their process.
--
-- Index: owsuper_run_attributes_value_idx, in its order; workflow_runs_pkey; that of
-- fragments/has_attributes. Locks: none. For the form of the conditions see commit.
WITH wanted AS MATERIALIZED (
    SELECT key AS name, value FROM json_each_text($12::json)
)
SELECT count(*), count(*) FILTER (
    WHERE {fragments/dashboard_matches}
        AND (NOT $13::boolean OR (
            SELECT bool_or(given_up)
            FROM {schema}.owsuper_post_mortems
            WHERE namespace_id = $1 AND workflow_run_id = r.id
        ))
        AND {fragments/has_attributes}
)
FROM (
    SELECT workflow_run_id AS run
    FROM {schema}.owsuper_run_attributes
    WHERE namespace_id = $1 AND name = $10 AND value = $11
        AND run_created_at >= $2::timestamptz AND run_created_at <= $3::timestamptz
    ORDER BY run_created_at DESC, workflow_run_id DESC
    LIMIT $9::integer
) AS d
CROSS JOIN LATERAL (
    SELECT id, status, workflow_name, version, finished_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= d.run AND id <= d.run
    ORDER BY id
    LIMIT 1
) AS r
CROSS JOIN LATERAL (SELECT r.id) AS c
