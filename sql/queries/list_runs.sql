-- A page of the runs of a namespace, which lists the newest first.
--
-- Called by: clients, ListQueries.runs, without a filter.
-- $1 namespace, $2 and $3 time of creation and id of the run next to the page, $4 how many runs
-- at most, $5 whether the page comes before that run, not after it, $6 and $7 the first and the
-- last time of creation.
-- Returns the runs nearest to that one first: for a page before it, the oldest.
--
-- The index is ordered by time, but not by id. So the first scan finds how far in time the page
-- reaches, and the second sorts the runs within. Runs that were started in one transaction have the
-- same time of creation, so all of them are read for a page that shows some of them.
--
-- Index: workflow_runs_created_at_desc_idx, in its order, which no other index has, so the planner
-- can choose no other; those of fragments/run_links. Locks: none.
WITH reach AS MATERIALIZED (
    SELECT min(created_at) AS first, max(created_at) AS last
    FROM (
        (
            SELECT created_at
            FROM {schema}.workflow_runs
            WHERE NOT $5::boolean AND namespace_id = $1
                AND (created_at, id) < ($2::timestamptz, $3::text)
                AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
            ORDER BY created_at DESC
            LIMIT $4::integer
        )
        UNION ALL
        (
            SELECT created_at
            FROM {schema}.workflow_runs
            WHERE $5::boolean AND namespace_id = $1
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
        WHERE namespace_id = $1
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
