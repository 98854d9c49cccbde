-- Record attempts of steps as failed whose process was killed, and release their runs: due now,
-- without a crash.
--
-- Called by: the supervisor, ClaimQueries.fail_attempts, for steps that did not stop at their
-- time-outs.
-- $1 namespace, $2 claims, $3 attempts (JSON arrays).
-- Returns the worker id of every claim that was still good. May be repeated: then no claim is good.
--
-- The process may have sent the result of a step just before its death. Either that is committed
-- first, and the attempt is not running any more; or this is, and the claim is over.
--
-- Index: workflow_runs_pkey, step_attempts_pkey.
-- Locks: the runs, FOR NO KEY UPDATE, in id order. Fails if another session holds a lock for longer
-- than 100 ms, so that claims are not delayed; to be repeated. For the form of the conditions see
-- commit.
WITH asked AS (
    SELECT *
    FROM json_to_recordset($2::json) AS a (worker text, run text)
    WHERE (SELECT set_config('lock_timeout', '100ms', true)) = '100ms'
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
step_written AS (
    INSERT INTO {schema}.step_attempts AS old (
        namespace_id, id, workflow_run_id, step_name, kind, status, config,
        error, started_at, finished_at, created_at, updated_at
    )
    SELECT
        $1, s.id, m.run, s.name, 'function', 'failed', '{}',
        s.error, least(s.started, now()), now(),
        date_trunc('milliseconds', least(s.started, now())), now()
    FROM json_to_recordset($3::json) AS s (
        id text, worker text, name text, error jsonb, started timestamptz
    )
    JOIN mine AS m ON m.worker = s.worker
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        error = excluded.error,
        finished_at = excluded.finished_at,
        updated_at = excluded.updated_at
    WHERE old.status = 'running'
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
