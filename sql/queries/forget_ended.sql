-- Delete the failures and crashes counted of ended runs. The statement that ends a run does that,
-- too, but OpenWorkflow for TypeScript does not, and a cancellation may miss concurrent writes.
--
-- Called by: the supervisor, SweepQueries.forget_ended, about once an hour. $1 namespace.
-- Returns one row: how many runs were forgotten.
--
-- So are the oldest rows of owsuper_conflicts whose runs have ended, ten thousand at most.
--
-- Index: workflow_runs_pkey, owsuper_conflicts_age_idx, the primary keys of our own tables, whose rows of this namespace are
-- read once; they are few.
-- Locks: none on runs. Only rows are deleted that existed when the run was seen as ended; if the
-- run is retried meanwhile, newer rows stay.
-- For the form of the conditions see commit.
WITH ended AS MATERIALIZED (
    SELECT k.run
    FROM (
        SELECT workflow_run_id AS run FROM {schema}.owsuper_failures WHERE namespace_id = $1
        UNION
        SELECT workflow_run_id FROM {schema}.owsuper_crashes WHERE namespace_id = $1
    ) AS k
    LEFT JOIN LATERAL (
        SELECT status
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= k.run AND id <= k.run
        ORDER BY id
        LIMIT 1
    ) AS r ON true
    WHERE r.status IS NULL OR r.status IN ('completed', 'succeeded', 'failed', 'canceled')
),
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT run FROM ended))
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT run FROM ended))
),
conflicts_forgotten AS (
    DELETE FROM {schema}.owsuper_conflicts AS c
    USING (
        SELECT k.limit_name, k.key, k.workflow_run_id
        FROM (
            SELECT limit_name, key, workflow_run_id
            FROM {schema}.owsuper_conflicts
            WHERE namespace_id = $1 AND created_at < now() - interval '1 minute'
            ORDER BY created_at
            LIMIT 10000
        ) AS k
        LEFT JOIN LATERAL (
            SELECT status, context ->> 'continuedAs' AS after
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND id >= k.workflow_run_id AND id <= k.workflow_run_id
            ORDER BY id
            LIMIT 1
        ) AS r ON true
        WHERE r.status IS NULL
            OR r.status IN ('completed', 'succeeded', 'failed', 'canceled') AND r.after IS NULL
    ) AS e
    WHERE c.namespace_id = $1 AND c.limit_name = e.limit_name AND c.key = e.key
        AND c.workflow_run_id = e.workflow_run_id
)
SELECT count(*) FROM ended
