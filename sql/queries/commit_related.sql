-- As commit, for runs with relations: runs that end and have a parent, runs that start child runs
-- or wait for signals, and runs that park.
--
-- Called by: children, RunStore.commit; for new waits for signals, in one transaction with
-- signal_lock. $1 to $4 as in commit.
-- Returns (worker id, false) of every claim that was still good.
--
-- A run that ends wakes its parent, if the parent is parked at the step of this child run. A run
-- that parks although its child run has ended, or its signal has arrived, is due at once; or soon,
-- if it waits for other child runs, too (see migration waiting_parents). Both may happen at the
-- same time, so each locks the child run: the second sees what the first did. A run that parks names
-- the steps that it waits for ("awaits"): an earlier wait that its code no longer reaches must not
-- make it due.
--
-- A child run is stored together with its step attempt, each with a link to the other. A step that
-- begins to wait for a signal gets the oldest signal that was kept. A step that times out although
-- a signal has arrived does not change.
--
-- Index: primary keys; workflow_signals_step_attempt_idx; owsuper_signals_idx;
-- owsuper_child_waits_idx.
-- Locks: the runs, and the child runs awaited by runs that park, FOR NO KEY UPDATE, all together in
-- id order; then the parents' step attempts; then parents, see wake_parents. That is not in id
-- order, but a parent can be in the way only if it is claimed, executed and parked in between: then
-- one of the two is rolled back, and repeated.
-- For the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS a (
        worker text, run text, outcome text, at timestamptz,
        output jsonb, error jsonb, counts boolean, awaits json
    )
    WHERE (SELECT set_config('lock_timeout', '1s', true)) = '1s'
        AND (NOT $4::boolean OR (SELECT set_config('synchronous_commit', 'off', true)) = 'off')
),
ending AS (
    SELECT run FROM asked WHERE outcome IN ('complete', 'fail')
),
{fragments/find_parents},
step AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($3::json) AS s (
        id text, worker text, name text, kind text, status text, context jsonb,
        output jsonb, error jsonb, started timestamptz, finished timestamptz, child json
    )
),
wait AS MATERIALIZED (
    SELECT a.run, s.step, s.kind, s.child
    FROM asked AS a
    CROSS JOIN LATERAL json_array_elements_text(a.awaits) AS w (id)
    CROSS JOIN LATERAL (
        SELECT id AS step, kind, status, child_workflow_run_id AS child
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= w.id AND id <= w.id
        ORDER BY id
        LIMIT 1
    ) AS s
    WHERE a.outcome = 'park' AND s.status = 'running'
),
locked AS MATERIALIZED (
    SELECT r.*
    FROM (
        SELECT run AS id FROM asked
        UNION SELECT child FROM wait
        ORDER BY id
    ) AS k
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= k.id AND id <= k.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
),
mine AS MATERIALIZED (
    -- Counting them takes all locks before the rest of the statement reads or writes.
    SELECT a.*
    FROM asked AS a
    JOIN locked AS l ON l.id = a.run
    WHERE l.status = 'running' AND l.worker_id = a.worker AND (SELECT count(*) FROM locked) > 0
),
child AS MATERIALIZED (
    SELECT s.id AS step, c.*
    FROM step AS s
    JOIN mine AS m ON m.worker = s.worker
    CROSS JOIN LATERAL json_to_record(s.child) AS c (
        id text, name text, version text, context jsonb, config jsonb, input jsonb
    )
    WHERE s.child IS NOT NULL
),
child_written AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, idempotency_key, config, context, input,
        attempts, parent_step_attempt_namespace_id, parent_step_attempt_id,
        available_at, created_at, updated_at
    )
    SELECT
        $1, id, name, version, 'pending', concat('__workflow:', $1, ':', step),
        coalesce(config, '{}'), context, input, 0, $1, step,
        {fragments/due_by_priority}, date_trunc('milliseconds', now()), now()
    FROM child
    ON CONFLICT (namespace_id, id) DO NOTHING
),
kept AS MATERIALIZED (
    -- One for each wait that begins, in the order of the waits and of the signals.
    SELECT w.step, w.run, k.id
    FROM (
        SELECT
            s.id AS step, m.run, s.context ->> 'signal' AS signal,
            row_number() OVER (PARTITION BY s.context ->> 'signal' ORDER BY s.started, s.id) AS place
        FROM step AS s
        JOIN mine AS m ON m.worker = s.worker
        WHERE s.kind = 'signal-wait' AND s.status = 'running'
    ) AS w
    CROSS JOIN LATERAL (
        SELECT id
        FROM {schema}.owsuper_signals
        WHERE namespace_id = $1 AND signal = w.signal
        ORDER BY created_at, id
        OFFSET w.place - 1
        LIMIT 1
    ) AS k
    WHERE NOT EXISTS (
        SELECT FROM {schema}.step_attempts WHERE namespace_id = $1 AND id = w.step
    )
),
fetched AS (
    DELETE FROM {schema}.owsuper_signals AS k
    WHERE k.namespace_id = $1 AND k.id = ANY (ARRAY(SELECT id FROM kept))
    RETURNING k.*
),
delivered AS (
    INSERT INTO {schema}.workflow_signals (
        namespace_id, id, signal, data, sender_idempotency_key, workflow_run_id, step_attempt_id
    )
    SELECT $1, f.id, f.signal, f.data, f.sender_idempotency_key, k.run, k.step
    FROM fetched AS f
    JOIN kept AS k ON k.id = f.id
    ON CONFLICT DO NOTHING
),
step_written AS (
    INSERT INTO {schema}.step_attempts AS old (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, context,
        output, error, child_workflow_run_namespace_id, child_workflow_run_id,
        started_at, finished_at, created_at, updated_at
    )
    SELECT
        $1, s.id, m.run, s.name, s.kind, s.status, '{}', s.context,
        s.output, s.error, CASE WHEN s.child IS NOT NULL THEN $1 END, s.child ->> 'id',
        least(s.started, now()), CASE WHEN s.finished > now() THEN now() ELSE s.finished END,
        date_trunc('milliseconds', least(s.started, now())), now()
    FROM step AS s
    JOIN mine AS m ON m.worker = s.worker
    WHERE NOT (s.kind = 'signal-wait' AND s.status = 'completed' AND s.output IS NULL)
        OR NOT EXISTS (
            SELECT FROM {schema}.workflow_signals
            WHERE namespace_id = $1 AND step_attempt_id = s.id
        )
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        output = excluded.output,
        error = excluded.error,
        finished_at = excluded.finished_at,
        updated_at = excluded.updated_at
    WHERE old.status = 'running' AND excluded.status <> 'running'
),
ripe AS (
    -- When a run that parks is due because some of what it waits for has arrived.
    SELECT run, now() + {schema}.owsuper_wake_delay(count(*) FILTER (WHERE NOT over)) AS at
    FROM (
        SELECT
            w.run,
            coalesce(
                l.status IN ('completed', 'succeeded', 'failed', 'canceled')
                    OR m.outcome IN ('complete', 'fail'),
                false
            ) AS over
        FROM wait AS w
        LEFT JOIN locked AS l ON l.id = w.child
        LEFT JOIN mine AS m ON m.run = w.child
        WHERE w.kind = 'workflow'
    ) AS c
    GROUP BY run
    HAVING bool_or(over)
    UNION ALL
    SELECT w.run, now()
    FROM wait AS w
    WHERE w.kind = 'signal-wait' AND EXISTS (
        SELECT FROM {schema}.workflow_signals
        WHERE namespace_id = $1 AND step_attempt_id = w.step
    )
    UNION ALL
    SELECT run, now() FROM kept
),
run_written AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, config, attempts, created_at, updated_at,
        status, worker_id, available_at, output, error, finished_at
    )
    SELECT
        $1, run, '', '{}', 0, now(), now(),
        CASE outcome
            WHEN 'complete' THEN 'completed'
            WHEN 'fail' THEN 'failed'
            WHEN 'retry' THEN 'pending'
            ELSE 'running'
        END,
        CASE outcome WHEN 'complete' THEN worker END,
        CASE outcome
            WHEN 'release' THEN now()
            ELSE least(at, (SELECT min(r.at) FROM ripe AS r WHERE r.run = mine.run))
        END,
        output,
        error,
        CASE WHEN outcome IN ('complete', 'fail') THEN now() END
    FROM mine
    WHERE outcome IS NOT NULL
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        worker_id = excluded.worker_id,
        available_at = excluded.available_at,
        output = coalesce(excluded.output, r.output),
        error = CASE excluded.status WHEN 'running' THEN r.error ELSE excluded.error END,
        started_at = CASE
            WHEN excluded.status IN ('running', 'completed') THEN r.started_at
        END,
        finished_at = excluded.finished_at,
        updated_at = excluded.updated_at
),
ended AS MATERIALIZED (
    SELECT run FROM mine WHERE outcome IN ('complete', 'fail')
),
{fragments/wake_parents},
failure_counted AS (
    INSERT INTO {schema}.owsuper_failures (namespace_id, workflow_run_id)
    SELECT $1, run FROM mine WHERE outcome = 'retry' AND counts
),
{fragments/forget_counts}
SELECT worker, 'false' FROM mine
