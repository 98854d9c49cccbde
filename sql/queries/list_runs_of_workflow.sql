-- As list_runs, of the runs of one workflow that have one of several statuses.
--
-- Called by: clients, ListQueries.runs, with a workflow. $1 to $5 as in list_runs, $6 workflow
-- name, $7 statuses (array): one status, or all of them. The index orders the runs of each status
-- separately, so a page of runs is read for each status.
--
-- Index: workflow_runs_workflow_name_status_created_at_desc_idx, in its order, which no other
-- index has. Locks: none. For the two scans see list_runs.
WITH reach AS MATERIALIZED (
    SELECT min(created_at) AS first, max(created_at) AS last
    FROM (
        (
            SELECT r.created_at
            FROM unnest($7::text[]) AS s (status)
            CROSS JOIN LATERAL (
                SELECT created_at
                FROM {schema}.workflow_runs
                WHERE NOT $5::boolean AND namespace_id = $1
                    AND workflow_name = $6 AND status = s.status
                    AND (created_at, id) < ($2::timestamptz, $3::text)
                ORDER BY created_at DESC
                LIMIT $4::integer
            ) AS r
            ORDER BY r.created_at DESC
            LIMIT $4::integer
        )
        UNION ALL
        (
            SELECT r.created_at
            FROM unnest($7::text[]) AS s (status)
            CROSS JOIN LATERAL (
                SELECT created_at
                FROM {schema}.workflow_runs
                WHERE $5::boolean AND namespace_id = $1
                    AND workflow_name = $6 AND status = s.status
                    AND (created_at, id) > ($2::timestamptz, $3::text)
                ORDER BY created_at
                LIMIT $4::integer
            ) AS r
            ORDER BY r.created_at
            LIMIT $4::integer
        )
    ) AS near
)
SELECT
    id, workflow_name, version, status, attempts, idempotency_key, input::text, output::text,
    error::text, worker_id, available_at, deadline_at, created_at, started_at, finished_at,
    updated_at
FROM (
    SELECT
        within.*,
        row_number() OVER (
            ORDER BY
                CASE WHEN $5::boolean THEN created_at END, CASE WHEN $5::boolean THEN id END,
                created_at DESC, id DESC
        ) AS number
    FROM unnest($7::text[]) AS s (status)
    CROSS JOIN LATERAL (
        SELECT *
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = $6 AND status = s.status
            AND created_at >= (SELECT first FROM reach)
            AND created_at <= (SELECT last FROM reach)
        ORDER BY created_at DESC
        OFFSET 0
    ) AS within
    WHERE CASE
        WHEN $5::boolean THEN (created_at, id) > ($2::timestamptz, $3::text)
        ELSE (created_at, id) < ($2::timestamptz, $3::text)
    END
) AS page
WHERE number <= $4::integer
ORDER BY number
