-- Delete what we keep about runs that have ended. Whoever ends a run does that, too, but another
-- implementation does not know of it, and what was written while a run was being canceled is
-- seen only later.
--
-- Called by: the supervisor, ClaimQueries.forget_ended, once in a long while. $1 namespace.
-- Returns one row: how many runs were forgotten.
--
-- Index: workflow_runs_pkey, the primary keys of our own tables, whose rows of this namespace
-- are read once; they are few.
-- Locks: none on runs. What is deleted was there when the run was seen to have ended; if it is put
-- back meanwhile, what comes after that stays.
-- About the form of the conditions see commit.
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
