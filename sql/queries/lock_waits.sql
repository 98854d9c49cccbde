-- Lock steps that wait for a signal, so that no sender delivers a signal to them, and none of them
-- times out, before this transaction commits.
--
-- Called by: children, before commit_related, for the waits on which a run parks or that time out;
-- in one transaction with it. $1 namespace, $2 ids of step attempts (JSON array).
-- Returns one row.
--
-- Only the next statement of the transaction sees what was delivered, so this statement comes
-- first. Senders, of every implementation, lock the step before the run.
--
-- Index: step_attempts_pkey. Locks: the step attempts, FOR NO KEY UPDATE, in id order.
-- For the form of the conditions see commit.
-- That on the kind hides the partial index of all waits, which seems to be empty in a young table.
SELECT count(*)::text
FROM (SELECT id FROM json_array_elements_text($2::json) AS id ORDER BY id) AS w
CROSS JOIN LATERAL (
    SELECT id
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND id >= w.id AND id <= w.id
        AND kind || '' = 'signal-wait' AND status = 'running'
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
) AS s
WHERE (SELECT set_config('lock_timeout', '1s', true)) = '1s'
