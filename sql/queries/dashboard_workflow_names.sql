-- The names of the workflows that have runs, and of those given, in their order.
--
-- Called by: the dashboard, WorkflowLists.names. $1 namespace, $2 the name before the first one,
-- $3 how many at most, $4 names that are listed even without a run (array).
--
-- One index entry is read for each name.
--
-- Index: workflow_runs_workflow_name_idempotency_key_created_at_idx, in its order, which no other
-- index has. Locks: none.
WITH RECURSIVE workflow AS (
    SELECT
        least(
            (
                SELECT workflow_name
                FROM {schema}.workflow_runs
                WHERE namespace_id = $1 AND workflow_name > $2::text
                ORDER BY workflow_name, idempotency_key, created_at
                LIMIT 1
            ),
            (SELECT min(name) FROM unnest($4::text[]) AS given (name) WHERE name > $2::text)
        ) AS name,
        1 AS number
    UNION ALL
    SELECT
        least(
            (
                SELECT workflow_name
                FROM {schema}.workflow_runs
                WHERE namespace_id = $1 AND workflow_name > w.name
                ORDER BY workflow_name, idempotency_key, created_at
                LIMIT 1
            ),
            (SELECT min(g.name) FROM unnest($4::text[]) AS g (name) WHERE g.name > w.name)
        ),
        w.number + 1
    FROM workflow AS w
    WHERE w.name IS NOT NULL AND w.number < $3::integer
)
SELECT name FROM workflow WHERE name IS NOT NULL ORDER BY number
