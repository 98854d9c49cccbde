-- Note with a run that steps of it have undos (see migration undos).
--
-- Called by: children, RunStore.mark_undo, before the first step of a run that has an undo.
-- $1 namespace, $2 run id, $3 worker id (the fence).
-- Returns the id of the run; no row if the fence does not hold. May be repeated.
--
-- Index: workflow_runs_pkey.
-- Locks: the run, FOR NO KEY UPDATE.
-- For the form of the conditions, and for ON CONFLICT, see commit.
WITH run AS MATERIALIZED (
    SELECT id, status, worker_id, config
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
)
INSERT INTO {schema}.workflow_runs AS r (
    namespace_id, id, workflow_name, status, created_at, updated_at, attempts, config
)
SELECT
    $1, id, '', '', now(), now(), 0,
    CASE WHEN jsonb_typeof(config) = 'object' THEN config ELSE '{}' END
        || jsonb_build_object(
            'owsuper',
            CASE
                WHEN jsonb_typeof(config -> 'owsuper') = 'object' THEN config -> 'owsuper'
                ELSE '{}'
            END || '{"undo": true}'
        )
FROM run
WHERE status = 'running' AND worker_id = $3
ON CONFLICT (namespace_id, id) DO UPDATE
SET config = excluded.config, updated_at = excluded.updated_at
RETURNING r.id
