-- As dashboard_runs, of the runs that were given up because they kept killing their process.
--
-- Called by: the dashboard, RunLists.page, with crashed. $1 to $13 and the result as in
-- dashboard_runs.
--
-- A run has at most one post-mortem that is given_up, and none after a retry.
--
-- Index: owsuper_post_mortems_given_up_idx, in its order; workflow_runs_pkey; those of
-- fragments/dashboard_page. Locks: none. For the form of the conditions see commit.
WITH edge AS MATERIALIZED (
    SELECT CASE
        WHEN $5::boolean THEN (
            SELECT run_created_at
            FROM {schema}.owsuper_post_mortems
            WHERE namespace_id = $1 AND given_up
                AND (run_created_at, workflow_run_id) > ($2::timestamptz, $3::text)
                AND run_created_at >= $6::timestamptz AND run_created_at <= $7::timestamptz
            ORDER BY run_created_at, workflow_run_id
            OFFSET $8::integer - 1
            LIMIT 1
        )
        ELSE (
            SELECT run_created_at
            FROM {schema}.owsuper_post_mortems
            WHERE namespace_id = $1 AND given_up
                AND (run_created_at, workflow_run_id) < ($2::timestamptz, $3::text)
                AND run_created_at >= $6::timestamptz AND run_created_at <= $7::timestamptz
            ORDER BY run_created_at DESC, workflow_run_id DESC
            OFFSET $8::integer - 1
            LIMIT 1
        )
    END AS at
),
{fragments/dashboard_reach},
found AS (
    SELECT r.*
    FROM (
        SELECT workflow_run_id AS run
        FROM {schema}.owsuper_post_mortems
        WHERE namespace_id = $1 AND given_up
            AND run_created_at >= (SELECT first FROM reach)
            AND run_created_at <= (SELECT last FROM reach)
        ORDER BY run_created_at, workflow_run_id
        OFFSET 0
    ) AS d
    CROSS JOIN LATERAL (
        SELECT {fragments/dashboard_found}
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= d.run AND id <= d.run
        ORDER BY id
        LIMIT 1
    ) AS r
),
{fragments/dashboard_page}
