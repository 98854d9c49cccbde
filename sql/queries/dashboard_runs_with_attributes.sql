-- As dashboard_runs, of the runs that have some attributes.
--
-- Called by: the dashboard, RunLists.page, with attributes. $1 to $13 and the result as in
-- dashboard_runs, $14 name of one of the attributes, $15 as in dashboard_runs_of_parent, $16 the other
-- attributes (JSON object), $17 the value of $14. Up to $8 runs with the attribute $14 are read.
--
-- Index: owsuper_run_attributes_value_idx, in its order; workflow_runs_pkey; those of
-- fragments/has_attributes and dashboard_page. Locks: none. For the form of the conditions see commit.
WITH wanted AS MATERIALIZED (
    SELECT key AS name, value FROM json_each_text($16::json)
),
edge AS MATERIALIZED (
    SELECT CASE
        WHEN $5::boolean THEN (
            SELECT run_created_at
            FROM {schema}.owsuper_run_attributes
            WHERE namespace_id = $1 AND name = $14 AND value = $17
                AND (run_created_at, workflow_run_id) > ($2::timestamptz, $3::text)
                AND run_created_at >= $6::timestamptz AND run_created_at <= $7::timestamptz
            ORDER BY run_created_at, workflow_run_id
            OFFSET $8::integer - 1
            LIMIT 1
        )
        ELSE (
            SELECT run_created_at
            FROM {schema}.owsuper_run_attributes
            WHERE namespace_id = $1 AND name = $14 AND value = $17
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
    SELECT c.*
    FROM (
        SELECT workflow_run_id AS run
        FROM {schema}.owsuper_run_attributes
        WHERE namespace_id = $1 AND name = $14 AND value = $17
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
    ) AS c
    WHERE ({fragments/dashboard_crashed_only})
        AND {fragments/has_attributes}
),
{fragments/dashboard_page}
