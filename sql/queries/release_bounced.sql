-- Make runs due that a worker without their workflow has claimed. (Workers of OpenWorkflow for
-- TypeScript claim all due runs, and release those that they cannot execute with a due time 5
-- seconds later, and then more.) The error that the worker wrote stays. Runs that wait for a limit are
-- left alone: they are due in the year 9999.
--
-- Called by: the supervisor, SweepQueries.release_bounced, on a timer, while it has free slots.
-- $1 namespace, $2 workflows (JSON array), $3 how many runs at most.
-- Returns the id of each run. The runs are due now, and claimed like others.
-- The flush to disk is skipped: if a server crash loses this, it is done again.
--
-- Index: owsuper_runs_bounced_idx, which contains no other runs.
-- Locks: the runs, FOR NO KEY UPDATE; locked rows are skipped.
-- For ON CONFLICT see commit.
WITH known AS MATERIALIZED (
    SELECT
        name, version,
        concat(
            'Workflow "', name, '"', ' (version: ' || nullif(version, '') || ')',
            ' is not registered'
        ) AS complaint
    FROM json_to_recordset($2::json) AS w (name text, version text)
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
),
bounced AS MATERIALIZED (
    SELECT r.id
    FROM known AS k
    CROSS JOIN LATERAL (
        SELECT id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = k.name
            AND version IS NOT DISTINCT FROM k.version
            AND status = 'pending' AND worker_id IS NULL
            AND (error ->> 'message') LIKE 'Workflow "% is not registered'
            AND (error ->> 'message') = k.complaint
            AND available_at > now() AND available_at <> '9999-01-01 00:00:00+00'
        LIMIT $3::integer
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
),
released AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now() FROM bounced
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = now(), updated_at = now()
)
SELECT id FROM bounced
