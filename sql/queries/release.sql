-- Release runs: due now, without a crash.
--
-- Called by: the supervisor, ClaimQueries.release, for runs without a slot, and for runs of a
-- child that was told to stop.
-- $1 namespace, $2 claims (JSON array).
-- Returns the worker id of every claim that was still good.
-- The flush to disk is skipped: if a server crash loses this, the leases run out.
--
-- Index: workflow_runs_pkey. Locks: the runs, FOR NO KEY UPDATE, in id order. Fails if another
-- session holds a lock for longer than 100 ms, so that claims are not delayed; to be repeated.
-- For the form of the conditions see commit.
WITH asked AS (
    SELECT *
    FROM json_to_recordset($2::json) AS a (worker text, run text)
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
        AND (SELECT set_config('lock_timeout', '100ms', true)) = '100ms'
    ORDER BY run
),
mine AS MATERIALIZED (
    SELECT a.*
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= a.run AND id <= a.run
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
    WHERE r.status = 'running' AND r.worker_id = a.worker
),
released AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, run, '', '', '{}', 0, now(), now() FROM mine
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET worker_id = NULL, available_at = now(), updated_at = now()
)
SELECT worker FROM mine
