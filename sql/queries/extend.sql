-- Renew leases.
--
-- Called by: children, RunStore.extend; the supervisor for prefetched runs and for children that
-- are late, ClaimQueries.extend.
-- $1 namespace, $2 claims (JSON array), $3 seconds from now.
-- Returns (worker id, renewed) of every claim that was still good. A claim whose row another
-- session has locked is good but not renewed: waiting for the lock would delay the other renewals.
-- The flush to disk is skipped: a renewal that a server crash loses changes nothing.
--
-- Index: workflow_runs_pkey. Locks: the runs, FOR NO KEY UPDATE; locked rows are skipped.
-- For the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS a (worker text, run text)
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
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
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
    WHERE r.status = 'running' AND r.worker_id = a.worker
),
extended AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
        available_at
    )
    SELECT
        $1, run, '', '', '{}', 0, now(), now(),
        now() + $3::double precision * interval '1 second'
    FROM mine
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = excluded.available_at, updated_at = excluded.updated_at
)
SELECT worker, 'true' FROM mine
UNION ALL
SELECT a.worker, 'false'
FROM asked AS a
CROSS JOIN LATERAL (
    SELECT status, worker_id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= a.run AND id <= a.run
    ORDER BY id
    LIMIT 1
) AS r
WHERE r.status = 'running' AND r.worker_id = a.worker
    AND a.worker NOT IN (SELECT worker FROM mine)
