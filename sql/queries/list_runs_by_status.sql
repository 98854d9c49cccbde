-- As list_runs, of the runs that have one status.
--
-- Called by: clients, ListQueries.runs, with a status. $1 to $7 as in list_runs, $8 status.
--
-- Index: workflow_runs_status_created_at_desc_idx, in its order (the status is said twice: see
-- fragments/of_status); those of fragments/run_links. Locks: none. For the two scans see list_runs.
WITH reach AS MATERIALIZED (
    SELECT min(created_at) AS first, max(created_at) AS last
    FROM (
        (
            SELECT created_at
            FROM {schema}.workflow_runs
            WHERE NOT $5::boolean AND namespace_id = $1 AND status = $8
                AND status >= $8 AND status <= $8
                AND (created_at, id) < ($2::timestamptz, $3::text)
                AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
            ORDER BY created_at DESC
            LIMIT $4::integer
        )
        UNION ALL
        (
            SELECT created_at
            FROM {schema}.workflow_runs
            WHERE $5::boolean AND namespace_id = $1 AND status = $8
                AND status >= $8 AND status <= $8
                AND (created_at, id) > ($2::timestamptz, $3::text)
                AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
            ORDER BY created_at
            LIMIT $4::integer
        )
    ) AS near
)
SELECT
{fragments/run_columns}
FROM (
    SELECT
        *,
{fragments/page_number}
    FROM (
        SELECT *
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND status = $8
            AND status >= $8 AND status <= $8
            AND created_at >= (SELECT first FROM reach)
            AND created_at <= (SELECT last FROM reach)
        ORDER BY created_at DESC
        OFFSET 0
    ) AS within
    WHERE {fragments/beyond}
) AS r
{fragments/run_links}
WHERE r.number <= $4::integer
ORDER BY r.number
