-- Set aside the signal that was delivered to a step, and keep it with the reason.
--
-- Called by: children, RelatedStore.skip, in one transaction with signal_lock, lock_waits and
-- next_signal. $1 namespace, $2 run id, $3 worker id (the fence), $4 id of the step attempt, $5 id
-- of the delivery, $6 why it is skipped.
-- Returns one row; no row if the fence does not hold or the attempt has ended.
--
-- The delivery stays in workflow_signals, so that its sender's idempotency key stays used, in every
-- implementation. It only belongs to no step any more.
--
-- Index: primary keys. Locks: the run, FOR NO KEY UPDATE.
-- For the form of the conditions see commit.
WITH {fragments/own_step},
skipped AS (
    UPDATE {schema}.workflow_signals
    SET step_attempt_id = concat('skipped:', id)
    WHERE namespace_id = $1 AND id = $5 AND step_attempt_id = $4 AND EXISTS (SELECT FROM mine)
    RETURNING id, created_at
),
kept AS (
    INSERT INTO {schema}.owsuper_further_signals (
        namespace_id, workflow_run_id, step_attempt_id, id, created_at, skipped_at, step_name, reason
    )
    SELECT $1, $2, $4, s.id, s.created_at, now(), m.step_name, $6
    FROM skipped AS s
    CROSS JOIN mine AS m
    ON CONFLICT DO NOTHING
)
SELECT step_name FROM mine
