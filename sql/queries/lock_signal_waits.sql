-- Lock all steps that wait for a signal.
--
-- Called by: children and clients, between signal_lock and send_signal, in one transaction.
-- $1 namespace, $2 signal. Returns one row.
--
-- As OpenWorkflow does it: first the steps, and in the order in which the index has them, since
-- senders of both implementations may be at it at the same time. Only the next statement sees
-- what those have done who had the locks before.
--
-- Index: step_attempts_signal_wait_idx. Locks: the step attempts, FOR NO KEY UPDATE.
SELECT count(*)
FROM (
    SELECT id
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
        AND (context ->> 'signal') = $2
    FOR NO KEY UPDATE
) AS waits
