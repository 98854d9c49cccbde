-- As list_runs, of the runs that were started with one idempotency key.
--
-- Called by: clients, ListQueries.runs, with a key and without a parent. $1 to $7 as in list_runs,
-- $8 workflow name or NULL, $9 statuses (array), $10 idempotency key.
--
-- Keys are indexed by workflow. Without a workflow, the names of all workflows are read first, one
-- index entry for each name, and the key is looked up under each of them. Few runs have one key;
-- the other filters apply to these.
--
-- Index: workflow_runs_workflow_name_idempotency_key_created_at_idx, in its order, which no other
-- index has; those of fragments/run_links. Locks: none. (The condition on the key is a range
-- because only this index is ordered by it; compare commit.)
WITH RECURSIVE workflow AS (
    SELECT coalesce(
        $8::text,
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
    WHERE $8::text IS NULL AND w.name IS NOT NULL
),
few AS (
    SELECT k.*
    FROM workflow AS w
    CROSS JOIN LATERAL (
        SELECT *
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = w.name
            AND idempotency_key >= $10 AND idempotency_key <= $10
        ORDER BY idempotency_key, created_at
        OFFSET 0
    ) AS k
)
{fragments/page_of_few}
