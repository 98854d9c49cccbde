-- Delete the failures and crashes counted of ended runs. The statement that ends a run does that,
-- too, but OpenWorkflow for TypeScript does not, and a cancellation may miss concurrent writes.
--
-- Called by: the supervisor, SweepQueries.forget_ended, about once an hour. $1 namespace.
-- Returns one row: how many runs were forgotten.
--
-- Index: workflow_runs_pkey, the primary keys of our own tables, whose rows of this namespace are
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
)
SELECT count(*) FROM ended
