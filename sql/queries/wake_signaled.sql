-- Make a run due that parked while a signal was being sent to it.
--
-- Called by: children and clients, for each run that parked_unaware returned.
-- $1 namespace, $2 id of the run, $3 the lock time-out. Returns the id, if the run is due now and
-- was not before.
--
-- Index: workflow_runs_pkey. Locks: the run, FOR NO KEY UPDATE. One run for each transaction: one
-- that waits for a lock and holds none cannot deadlock.
-- For the form of the conditions see commit.
WITH parked AS MATERIALIZED (
    SELECT id, status, worker_id, available_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
        AND (SELECT set_config('lock_timeout', $3::text, true)) = $3::text
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
),
woken AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now()
    FROM parked
    WHERE status IN ('pending', 'running', 'sleeping') AND worker_id IS NULL
        AND available_at > now()
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = now(), updated_at = now()
    RETURNING id
)
SELECT id FROM woken
