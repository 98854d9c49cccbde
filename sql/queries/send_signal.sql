-- Send a signal to every step that waits for it, and wake their runs.
--
-- Called by: children and clients, in one transaction with signal_lock and lock_signal_waits.
-- $1 namespace, $2 signal, $3 data (JSON or NULL), $4 sender's idempotency key or NULL, $5 whether
-- to keep a signal that reaches no run for the next wait, $6 id of the kept signal.
-- Returns the runs that it reached, now or when it was sent with this key before: id, whether the
-- run may park before this transaction commits, and not see the signal (see parked_unaware), and
-- whether it reached the run now.
--
-- A step whose earlier signal was not read yet gets no other, unless it may skip that one: then the
-- signal waits its turn (owsuper_further_signals), or is kept if it is to be. Ended runs get no
-- signal. A step that begins to wait at the same moment either is reached or finds the kept signal,
-- because of signal_lock. An owned run is not woken: it reads its signals again when it parks, with
-- its waits locked as here; for workers of OpenWorkflow for TypeScript there is parked_unaware.
--
-- IS TRUE keeps IN from becoming a join, which could compare each wait with each run.
--
-- Index: workflow_signals_idempotency_idx, step_attempts_signal_wait_idx, primary keys,
-- owsuper_signals_idx. Locks: the runs without an owner, FOR NO KEY UPDATE, in id order.
WITH before AS MATERIALIZED (
    SELECT workflow_run_id AS run
    FROM {schema}.workflow_signals
    WHERE namespace_id = $1 AND signal = $2 AND sender_idempotency_key = $4
),
kept_before AS MATERIALIZED (
    SELECT id
    FROM {schema}.owsuper_signals
    WHERE namespace_id = $1 AND signal = $2 AND sender_idempotency_key = $4
),
wait AS MATERIALIZED (
    SELECT id AS step, workflow_run_id AS run, (context ->> 'onInvalid') = 'skip' AS skips
    FROM {schema}.step_attempts
    WHERE {fragments/awaits_signal}
        AND NOT EXISTS (SELECT FROM before) AND NOT EXISTS (SELECT FROM kept_before)
),
seen AS MATERIALIZED (
    SELECT r.*
    FROM (SELECT DISTINCT run FROM wait) AS w
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= w.run AND id <= w.run
        ORDER BY id
        LIMIT 1
    ) AS r
),
locked AS MATERIALIZED (
    -- Not owned runs: the owner may have locked the run, and be about to lock the steps that this
    -- transaction has locked. Not ended ones: they are perhaps being deleted, with their steps.
    SELECT r.*
    FROM (
        SELECT id
        FROM seen
        WHERE worker_id IS NULL AND status IN ('pending', 'running', 'sleeping')
        ORDER BY id
    ) AS s
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= s.id AND id <= s.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
),
reachable AS MATERIALIZED (
    SELECT id, worker_id
    FROM (
        SELECT * FROM seen WHERE worker_id IS NOT NULL
        UNION ALL
        SELECT * FROM locked
    ) AS r
    WHERE status IN ('pending', 'running', 'sleeping') AND (SELECT count(*) FROM locked) >= 0
),
open AS MATERIALIZED (
    SELECT step, skips, run
    FROM wait
    WHERE (run IN (SELECT id FROM reachable)) IS TRUE
),
sent AS MATERIALIZED (
    SELECT
        gen_random_uuid()::text AS id, step, run,
        CASE
            WHEN skips AND EXISTS (
                SELECT FROM {schema}.workflow_signals
                WHERE namespace_id = $1 AND step_attempt_id = step
            ) THEN 'waiting'
            ELSE 'next'
        END AS place
    FROM open
),
delivered AS (
    INSERT INTO {schema}.workflow_signals (
        namespace_id, id, signal, data, sender_idempotency_key, workflow_run_id, step_attempt_id
    )
    SELECT
        $1, id, $2, $3::jsonb, $4, run,
        CASE place WHEN 'next' THEN step ELSE concat('waiting:', id) END
    FROM sent
    WHERE place = 'next' OR NOT $5::boolean
    ON CONFLICT (namespace_id, step_attempt_id) DO NOTHING
    RETURNING workflow_run_id AS run
),
waiting AS (
    INSERT INTO {schema}.owsuper_further_signals (
        namespace_id, workflow_run_id, step_attempt_id, id
    )
    SELECT $1, run, step, id FROM sent WHERE place = 'waiting' AND NOT $5::boolean
),
missed AS MATERIALIZED (
    -- The sender of a signal that was not read yet may have died before it woke the run.
    SELECT o.run
    FROM open AS o
    CROSS JOIN LATERAL (
        SELECT created_at
        FROM {schema}.workflow_signals
        WHERE namespace_id = $1 AND step_attempt_id >= o.step AND step_attempt_id <= o.step
        ORDER BY step_attempt_id
        LIMIT 1
    ) AS s
    CROSS JOIN LATERAL (
        SELECT worker_id, available_at, updated_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= o.run AND id <= o.run
        ORDER BY id
        LIMIT 1
    ) AS r
    WHERE (o.run IN (SELECT run FROM delivered)) IS NOT TRUE
        AND r.worker_id IS NULL AND r.available_at > now()
        AND r.updated_at <= s.created_at + interval '1 min'
),
woken AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}'::jsonb, 0, now(), now()
    FROM reachable
    WHERE worker_id IS NULL AND (
        (id IN (SELECT run FROM delivered)) IS TRUE OR (id IN (SELECT run FROM missed)) IS TRUE
    )
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = least(r.available_at, now()), updated_at = now()
),
kept AS (
    INSERT INTO {schema}.owsuper_signals (
        namespace_id, id, signal, data, sender_idempotency_key
    )
    SELECT $1, $6, $2, $3::jsonb, $4
    WHERE $5::boolean AND NOT EXISTS (SELECT FROM delivered)
        AND NOT EXISTS (SELECT FROM before) AND NOT EXISTS (SELECT FROM kept_before)
    ON CONFLICT DO NOTHING
)
SELECT run, bool_or(may_park), bool_or(is_new)
FROM (
    -- The sender that used this key before may have died before it woke the runs.
    SELECT run, true AS may_park, false AS is_new FROM before
    UNION ALL
    SELECT run, run IN (SELECT id FROM reachable WHERE worker_id IS NOT NULL), true FROM delivered
) AS reached
GROUP BY run
