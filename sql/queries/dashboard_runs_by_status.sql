-- As dashboard_runs, of the runs that have one of several statuses.
--
-- Called by: the dashboard, RunLists.page, with a status. $1 to $13 and the result as in
-- dashboard_runs; up to $8 runs of each status are read.
--
-- Index: workflow_runs_status_created_at_desc_idx, in its order (fragments/of_status); those of
-- fragments/dashboard_page. Locks: none.
WITH edge AS MATERIALIZED (
    SELECT CASE
        WHEN $5::boolean THEN min(newer.created_at)
        ELSE max(older.created_at)
    END AS at
    FROM unnest($12::text[]) AS s (status)
    LEFT JOIN LATERAL (
        SELECT created_at
        FROM {schema}.workflow_runs
        WHERE $5::boolean AND namespace_id = $1 AND {fragments/of_status}
            AND (created_at, id) > ($2::timestamptz, $3::text)
            AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
        ORDER BY created_at
        OFFSET $8::integer - 1
        LIMIT 1
    ) AS newer ON true
    LEFT JOIN LATERAL (
        SELECT created_at
        FROM {schema}.workflow_runs
        WHERE NOT $5::boolean AND namespace_id = $1 AND {fragments/of_status}
            AND (created_at, id) < ($2::timestamptz, $3::text)
            AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
        ORDER BY created_at DESC
        OFFSET $8::integer - 1
        LIMIT 1
    ) AS older ON true
),
{fragments/dashboard_reach},
found AS (
    SELECT r.*
    FROM unnest($12::text[]) AS s (status)
    CROSS JOIN LATERAL (
        SELECT {fragments/dashboard_found}
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND {fragments/of_status}
            AND created_at >= (SELECT first FROM reach)
            AND created_at <= (SELECT last FROM reach)
        ORDER BY created_at DESC
        OFFSET 0
    ) AS r
),
{fragments/dashboard_page}
