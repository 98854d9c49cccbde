-- Make a run one of another version of its workflow, which is compatible with its own.
--
-- Called by: children, RunStore.move_version, before the first execution by that version.
-- $1 namespace, $2 run id, $3 worker id (the fence), $4 the version.
-- Returns a row if the claim is good. The flush to disk is skipped: the next result that is flushed
-- brings this along, and until then nothing has been stored that only the other version knows.
--
-- Index: workflow_runs_pkey. Locks: the run, FOR NO KEY UPDATE.
-- For the form of the conditions see commit.
WITH mine AS MATERIALIZED (
    SELECT id
    FROM (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= $2 AND id <= $2
            AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
    WHERE status = 'running' AND worker_id = $3
),
moved AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at, version
    )
    SELECT $1, id, '', '', '{}', 0, now(), now(), $4 FROM mine
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET version = excluded.version, updated_at = excluded.updated_at
)
SELECT id FROM mine
