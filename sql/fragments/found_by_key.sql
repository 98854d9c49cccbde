-- The run that was started with an idempotency key lately: the CTE "found".
--
-- Needs: $1 namespace, $3 workflow name, $4 idempotency key, $5 how many seconds ago at most.
-- Index: workflow_runs_workflow_name_idempotency_key_created_at_idx. (The condition
-- on the key is a range because only this index is ordered by it; compare commit.)
found AS (
    SELECT id
    FROM (
        SELECT id, created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = $3
            AND idempotency_key >= $4 AND idempotency_key <= $4
            AND created_at >= now() - $5::double precision * interval '1 second'
        ORDER BY idempotency_key, created_at
        OFFSET 0
    ) AS candidates
    ORDER BY created_at, id
    LIMIT 1
)
