-- Deliver the next signal to a step that has skipped one: the oldest that was sent to it meanwhile
-- or that was kept for any step.
--
-- Called by: children, RelatedStore.skip, in one transaction with skip_signal, after it.
-- $1 namespace, $2 run id, $3 id of the step attempt, $4 signal.
-- Returns one row, the number of signals that were delivered: 0 or 1.
--
-- Index: owsuper_further_signals_pkey, owsuper_signals_idx, workflow_signals_step_attempt_idx,
-- workflow_signals_pkey. Locks: none.
WITH next AS MATERIALIZED (
    SELECT *
    FROM (
        (
            SELECT id, created_at, false AS kept
            FROM {schema}.owsuper_further_signals
            WHERE namespace_id = $1 AND workflow_run_id = $2 AND step_attempt_id = $3
                AND skipped_at IS NULL
            ORDER BY created_at, id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT id, created_at, true
            FROM {schema}.owsuper_signals
            WHERE namespace_id = $1 AND signal = $4
            ORDER BY created_at, id
            LIMIT 1
        )
    ) AS waiting
    WHERE NOT EXISTS (
        SELECT FROM {schema}.workflow_signals WHERE namespace_id = $1 AND step_attempt_id = $3
    )
    ORDER BY created_at, id
    LIMIT 1
),
fetched AS (
    DELETE FROM {schema}.owsuper_signals
    WHERE namespace_id = $1 AND id = (SELECT id FROM next WHERE kept)
    RETURNING *
),
delivered AS (
    INSERT INTO {schema}.workflow_signals (
        namespace_id, id, signal, data, sender_idempotency_key, workflow_run_id, step_attempt_id
    )
    SELECT $1, id, signal, data, sender_idempotency_key, $2, $3 FROM fetched
    ON CONFLICT DO NOTHING
),
taken AS (
    DELETE FROM {schema}.owsuper_further_signals
    WHERE namespace_id = $1 AND workflow_run_id = $2 AND step_attempt_id = $3
        AND id = (SELECT id FROM next WHERE NOT kept)
),
moved AS (
    UPDATE {schema}.workflow_signals
    SET step_attempt_id = $3
    WHERE namespace_id = $1 AND id = (SELECT id FROM next WHERE NOT kept)
)
SELECT count(*) FROM next
