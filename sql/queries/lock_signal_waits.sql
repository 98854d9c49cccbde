-- Lock all steps of open runs that wait for a signal, and close waits of ended runs.
--
-- Called by: children and clients, between signal_lock and send_signal, in one transaction.
-- $1 namespace, $2 signal. Returns one row.
--
-- As in OpenWorkflow, steps are locked first, in the order of the index, because senders of both
-- implementations may do so at the same time. Only the next statement sees the changes of the
-- transactions that held the locks before.
--
-- A run may end while it waits, for example when it is canceled. Its wait would stay in the index
-- for ever, and each send would read it. So a send closes some of these waits: a retry of the run
-- waits anew. A wait with a signal that a retry would read is left open. Nothing here waits for a row
-- of an ended run, because a deletion of old runs locks a run before its steps.
--
-- Index: step_attempts_signal_wait_idx, workflow_signals_step_attempt_idx, the primary keys.
-- Locks: the step attempts, FOR NO KEY UPDATE; of ended runs, the runs and then the steps, but none
-- that is locked already.
-- For the form of the conditions see commit, and send_signal for IS TRUE.
WITH wait AS MATERIALIZED (
    SELECT id AS step, workflow_run_id AS run
    FROM {schema}.step_attempts
    WHERE {fragments/awaits_signal}
),
ended AS MATERIALIZED (
    SELECT w.step, w.run
    FROM wait AS w
    CROSS JOIN LATERAL (
        SELECT status
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= w.run AND id <= w.run
        ORDER BY id
        LIMIT 1
    ) AS r
    WHERE r.status IN ('completed', 'succeeded', 'failed', 'canceled')
),
locked AS MATERIALIZED (
    SELECT e.step, r.status
    FROM (SELECT step, run FROM ended ORDER BY run, step LIMIT 500) AS e
    CROSS JOIN LATERAL (
        SELECT status
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= e.run AND id <= e.run
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
    WHERE r.status IN ('completed', 'succeeded', 'failed', 'canceled')
),
over AS MATERIALIZED (
    SELECT s.*
    FROM locked AS l
    CROSS JOIN LATERAL (
        SELECT id, workflow_run_id, status
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= l.step AND id <= l.step
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS s
    WHERE s.status = 'running' AND (l.status <> 'failed' OR NOT EXISTS (
        SELECT FROM {schema}.workflow_signals AS d
        WHERE d.namespace_id = $1 AND d.step_attempt_id = l.step
    ))
),
closed AS (
    INSERT INTO {schema}.step_attempts (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, created_at, updated_at,
        error, finished_at
    )
    SELECT
        $1, id, workflow_run_id, '', 'signal-wait', 'failed', '{}', now(), now(),
        '{"message": "The run ended before the wait"}', now()
    FROM over
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        error = excluded.error,
        finished_at = excluded.finished_at,
        updated_at = excluded.updated_at
)
SELECT count(*)
FROM (
    SELECT id
    FROM {schema}.step_attempts
    WHERE {fragments/awaits_signal}
        AND (id IN (SELECT step FROM ended)) IS NOT TRUE
    FOR NO KEY UPDATE
) AS waits
