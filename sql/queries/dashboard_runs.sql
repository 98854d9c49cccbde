-- A page of the list of runs in the dashboard, without a filter that an index serves better.
--
-- Called by: the dashboard, RunLists.page.
-- $1 namespace, $2 and $3 time of creation and id of the run next to the page, $4 how many runs
-- at most, $5 whether the page has the runs created after that run, not before it, $6 and $7 the
-- first and the last time of creation, $8 how many runs to read at most, $9 version or NULL, $10
-- and $11 the first and the last time of the end or NULL, $12 statuses (array), $13 workflow name
-- or NULL.
-- Returns the runs nearest to that one first; for the columns see fragments/dashboard_page. The last
-- column is NULL if all runs on this side were read. Else it is the time of creation up to which
-- (included) they were read: then more runs than the page has may match.
--
-- No index is ordered by version or by the end. So these filters apply to what is read in the order
-- of creation, and $8 bounds what a page costs. As in list_runs, the runs of one moment are read
-- together, because the index is not ordered by id.
--
-- Index: workflow_runs_created_at_desc_idx, in its order, which no other index has, so the planner
-- can choose no other; those of fragments/dashboard_page. Locks: none.
WITH edge AS MATERIALIZED (
    SELECT CASE
        WHEN $5::boolean THEN (
            SELECT created_at
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1
                AND (created_at, id) > ($2::timestamptz, $3::text)
                AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
            ORDER BY created_at
            OFFSET $8::integer - 1
            LIMIT 1
        )
        ELSE (
            SELECT created_at
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1
                AND (created_at, id) < ($2::timestamptz, $3::text)
                AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
            ORDER BY created_at DESC
            OFFSET $8::integer - 1
            LIMIT 1
        )
    END AS at
),
{fragments/dashboard_reach},
found AS (
    SELECT {fragments/dashboard_found}
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1
        AND created_at >= (SELECT first FROM reach)
        AND created_at <= (SELECT last FROM reach)
    ORDER BY created_at DESC
    OFFSET 0
),
{fragments/dashboard_page}
