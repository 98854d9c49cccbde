-- The names of the workflows that have runs.
--
-- Called by: whoever deletes old runs, PruneQueries.workflows. $1 namespace, $2 the name before the
-- first one, $3 how many at most.
-- Returns one row: a JSON array of names, in their order.
--
-- One index entry is read for each name.
--
-- Index: workflow_runs_workflow_name_idempotency_key_created_at_idx, in its order, which no other
-- index has. Locks: none.
WITH RECURSIVE workflow AS (
    SELECT
        (
            SELECT workflow_name
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND workflow_name > $2::text
            ORDER BY workflow_name, idempotency_key, created_at
            LIMIT 1
        ) AS name,
        1 AS number
    UNION ALL
    SELECT
        (
            SELECT workflow_name
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND workflow_name > w.name
            ORDER BY workflow_name, idempotency_key, created_at
            LIMIT 1
        ),
        w.number + 1
    FROM workflow AS w
    WHERE w.name IS NOT NULL AND w.number < $3::integer
)
SELECT coalesce(json_agg(name ORDER BY number), '[]')::text FROM workflow WHERE name IS NOT NULL
