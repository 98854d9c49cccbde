-- The runs of a key that were started under a limit with on_conflict and have not ended.
--
-- Called by: clients, ConflictQueries.find, in one transaction with start_lock, so that no two starts
-- of a key look at once. $1 namespace, $2 the limit, $3 the key.
-- Returns (id, whether it has begun, the amount of the limit if workers have stored it, its workflow
-- and version), the oldest first. Of a run that has continued as new, the last successor is meant. The rows of ended runs are
-- deleted.
--
-- Index: owsuper_conflicts_pkey, workflow_runs_pkey, owsuper_limits_pkey. Locks: none on runs.
-- For the form of the conditions see commit.
WITH RECURSIVE chain AS (
    SELECT c.workflow_run_id AS first, c.workflow_run_id AS run, c.created_at, 0 AS place
    FROM {schema}.owsuper_conflicts AS c
    WHERE c.namespace_id = $1 AND c.limit_name = $2 AND c.key = $3
    UNION ALL
    SELECT c.first, r.after, c.created_at, c.place + 1
    FROM chain AS c
    CROSS JOIN LATERAL (
        SELECT context ->> 'continuedAs' AS after
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= c.run AND id <= c.run
        ORDER BY id
        LIMIT 1
    ) AS r
    WHERE r.after IS NOT NULL
),
last AS MATERIALIZED (
    SELECT DISTINCT ON (first) first, run, created_at FROM chain ORDER BY first, place DESC
),
state AS MATERIALIZED (
    SELECT l.first, l.run, l.created_at, r.began, r.workflow_name, r.version
    FROM last AS l
    CROSS JOIN LATERAL (
        SELECT attempts > 0 OR status <> 'pending' AS began, status, workflow_name, version
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= l.run AND id <= l.run
        ORDER BY id
        LIMIT 1
    ) AS r
    WHERE r.status NOT IN ('completed', 'succeeded', 'failed', 'canceled')
),
moved AS (
    INSERT INTO {schema}.owsuper_conflicts (
        namespace_id, limit_name, key, workflow_run_id, created_at
    )
    SELECT $1, $2, $3, run, created_at FROM state WHERE run <> first
    ON CONFLICT DO NOTHING
),
forgotten AS (
    DELETE FROM {schema}.owsuper_conflicts AS c
    WHERE c.namespace_id = $1 AND c.limit_name = $2 AND c.key = $3
        AND c.workflow_run_id NOT IN (SELECT run FROM state)
)
SELECT
    run, began,
    (
        SELECT coalesce(set_amount, amount)
        FROM {schema}.owsuper_limits
        WHERE namespace_id = $1 AND name = $2
    ),
    workflow_name, version
FROM state
ORDER BY created_at, run
