-- Lock all steps that wait for a signal.
--
-- Called by: children and clients, between signal_lock and send_signal, in one transaction.
-- $1 namespace, $2 signal. Returns one row.
--
-- As in OpenWorkflow, steps are locked first, in the order of the index, because senders of both
-- implementations may do so at the same time. Only the next statement sees the changes of the
-- transactions that held the locks before.
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
