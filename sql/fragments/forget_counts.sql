-- CTEs "failures_forgotten" and "crashes_forgotten": what was counted of the runs in "ended".
--
-- Needs: ended (run).
-- Index: the primary keys of our own tables.
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT run FROM ended))
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT run FROM ended))
)
