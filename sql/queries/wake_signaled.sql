-- Make runs due that parked while a signal was being sent to them. A worker of OpenWorkflow for
-- TypeScript parks a run, and then looks for signals; it does not see one that is not committed.
--
-- Called by: children and clients, after the transaction of send_signal.
-- $1 namespace, $2 signal, $3 ids of runs that had an owner when the signal was sent (JSON array).
-- Returns the ids of the runs that are due now.
--
-- Index: step_attempts_signal_wait_idx, workflow_signals_step_attempt_idx, workflow_runs_pkey.
-- Locks: the runs, FOR NO KEY UPDATE; locked rows are skipped, so that this statement cannot
-- deadlock and the signal need never be sent again. A run that parks now is not missed: its worker
-- looks for signals afterwards.
-- For the form of the conditions see commit.
WITH wait AS MATERIALIZED (
    SELECT workflow_run_id AS run, id AS step
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
        AND (context ->> 'signal') = $2
),
signaled AS MATERIALIZED (
    SELECT DISTINCT w.run
    FROM json_array_elements_text($3::json) AS k (run)
    JOIN wait AS w ON w.run = k.run
    CROSS JOIN LATERAL (
        SELECT id
        FROM {schema}.workflow_signals
        WHERE namespace_id = $1 AND step_attempt_id >= w.step AND step_attempt_id <= w.step
        ORDER BY step_attempt_id
        LIMIT 1
    ) AS s
),
parked AS MATERIALIZED (
    SELECT r.id
    FROM signaled AS s
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id, available_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= s.run AND id <= s.run
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
    WHERE r.status IN ('running', 'sleeping') AND r.worker_id IS NULL AND r.available_at > now()
),
woken AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now() FROM parked
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = now(), updated_at = now()
)
SELECT id FROM parked
