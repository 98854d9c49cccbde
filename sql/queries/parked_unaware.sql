-- Return runs that parked while a signal was being sent to them. A worker of OpenWorkflow for
-- TypeScript parks a run, and then looks for signals; it does not see one that is not committed.
--
-- Called by: children and clients, after the transaction of send_signal.
-- $1 namespace, $2 signal, $3 ids of runs that had an owner when the signal was sent (JSON array),
-- $4 those of them that this sender, and no earlier one, has reached.
-- Returns the ids of the runs to wake, by wake_signaled.
--
-- A run that parks later sees the signal. A run that was written long after another sender began
-- to send the signal has seen it: its code may wait for it no more, so that it must not be executed
-- again and again.
--
-- Index: step_attempts_signal_wait_idx, workflow_signals_step_attempt_idx, workflow_runs_pkey.
-- Locks: none.
-- For the form of the conditions see commit, and send_signal for IS TRUE.
WITH wait AS MATERIALIZED (
    SELECT workflow_run_id AS run, id AS step
    FROM {schema}.step_attempts
    WHERE {fragments/awaits_signal}
),
signaled AS MATERIALIZED (
    SELECT w.run, max(s.created_at) AS at
    FROM wait AS w
    CROSS JOIN LATERAL (
        SELECT created_at
        FROM {schema}.workflow_signals
        WHERE namespace_id = $1 AND step_attempt_id >= w.step AND step_attempt_id <= w.step
        ORDER BY step_attempt_id
        LIMIT 1
    ) AS s
    WHERE (w.run IN (SELECT json_array_elements_text($3::json))) IS TRUE
    GROUP BY w.run
)
SELECT r.id
FROM signaled AS s
CROSS JOIN LATERAL (
    SELECT id, status, worker_id, available_at, updated_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= s.run AND id <= s.run
    ORDER BY id
    LIMIT 1
) AS r
WHERE r.status IN ('pending', 'running', 'sleeping') AND r.worker_id IS NULL
    AND r.available_at > now() AND (
        r.updated_at <= s.at + interval '1 min'
        OR (r.id IN (SELECT json_array_elements_text($4::json))) IS TRUE
    )
