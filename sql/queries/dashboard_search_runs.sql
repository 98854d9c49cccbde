-- As dashboard_runs, of the runs that a text finds: those whose id begins with it, and those that
-- were started with it as their idempotency key.
--
-- Called by: the dashboard, RunLists.page, with a text. $1 to $13 and the result as in
-- dashboard_runs, $14 the text, $15 and $16 as in dashboard_runs_of_parent, $17 and $18 bounds of the
-- ids that begin with $14 up to its last digit (see find_run_ids); NULL searches no beginnings of ids.
--
-- Of the runs whose id begins with the text, the first $8 are read. The last column is not NULL if
-- there may be more.
-- Keys are indexed by workflow; see list_runs_with_key.
--
-- Index: workflow_runs_pkey; workflow_runs_workflow_name_idempotency_key_created_at_idx, in its
-- order, which no other index has; those of fragments/has_attributes and dashboard_page. Locks: none.
WITH RECURSIVE wanted AS MATERIALIZED (
    SELECT key AS name, value FROM json_each_text($16::json)
),
begins AS MATERIALIZED (
    SELECT {fragments/dashboard_found}
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $17 AND id <= $18 AND starts_with(id, $14)
    ORDER BY id
    LIMIT $8::integer
),
edge AS MATERIALIZED (
    SELECT CASE WHEN count(*) = $8::integer THEN now() END AS at FROM begins
),
workflow AS (
    SELECT coalesce(
        $13::text,
        (
            SELECT workflow_name
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1
            ORDER BY workflow_name, idempotency_key, created_at
            LIMIT 1
        )
    ) AS name
    UNION ALL
    SELECT (
        SELECT workflow_name
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name > w.name
        ORDER BY workflow_name, idempotency_key, created_at
        LIMIT 1
    )
    FROM workflow AS w
    WHERE $13::text IS NULL AND w.name IS NOT NULL
),
found AS (
    SELECT c.*
    FROM (
        (
            SELECT {fragments/dashboard_found}
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND id >= $14 AND id <= $14
            ORDER BY id
            LIMIT 1
        )
        UNION
        SELECT * FROM begins
        UNION
        (
            SELECT k.*
            FROM workflow AS w
            CROSS JOIN LATERAL (
                SELECT {fragments/dashboard_found}
                FROM {schema}.workflow_runs
                WHERE namespace_id = $1 AND workflow_name = w.name
                    AND idempotency_key >= $14 AND idempotency_key <= $14
                ORDER BY idempotency_key, created_at
                OFFSET 0
            ) AS k
        )
    ) AS c
    WHERE ({fragments/dashboard_crashed_only})
        AND {fragments/has_attributes}
),
{fragments/dashboard_page}
