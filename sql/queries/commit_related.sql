-- What commit does, for runs that may be waited for or may be waiting themselves: those that
-- end and have a parent, and those that park.
--
-- Called by: children, RunStore.commit. $1 to $4 as in commit.
-- Returns (worker id, false) of every claim that was still good.
--
-- A run that ends wakes its parent, if that is parked at the step that stands for it. A run
-- that parks although a child of it has ended, or a signal has come, is due at once. Either
-- side may be in flight while the other looks, so each locks both rows: whoever comes second
-- sees what the first did.
--
-- Index: primary keys; step_attempts_workflow_run_created_at_idx for runs that park;
-- workflow_signals_step_attempt_idx.
-- Locks: the runs, the parents of those that end and the children awaited by those that park,
-- FOR NO KEY UPDATE, all together in id order; then the parents' step attempts.
-- About the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS a (
        worker text, run text, outcome text, at timestamptz,
        output jsonb, error jsonb, counts boolean
    )
    WHERE (SELECT set_config('lock_timeout', '1s', true)) = '1s'
        AND (NOT $4::boolean OR (SELECT set_config('synchronous_commit', 'off', true)) = 'off')
),
parent AS MATERIALIZED (
    SELECT a.run AS child, r.step, s.run
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT parent_step_attempt_id AS step
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= a.run AND id <= a.run
        ORDER BY id
        LIMIT 1
    ) AS r
    CROSS JOIN LATERAL (
        SELECT workflow_run_id AS run
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= r.step AND id <= r.step
        ORDER BY id
        LIMIT 1
    ) AS s
    WHERE a.outcome IN ('complete', 'fail')
),
wait AS MATERIALIZED (
    SELECT a.run, s.step, s.kind, s.child
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT id AS step, kind, child_workflow_run_id AS child
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = a.run AND status = 'running'
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE a.outcome = 'park' AND s.kind IN ('workflow', 'signal-wait')
),
locked AS MATERIALIZED (
    SELECT r.*
    FROM (
        SELECT run AS id FROM asked
        UNION SELECT run FROM parent
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
    -- Counting them takes every lock before anything is read or written behind it.
    SELECT a.*
    FROM asked AS a
    JOIN locked AS l ON l.id = a.run
    WHERE l.status = 'running' AND l.worker_id = a.worker AND (SELECT count(*) FROM locked) > 0
),
step_written AS (
    INSERT INTO {schema}.step_attempts AS old (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, context,
        output, error, started_at, finished_at, created_at, updated_at
    )
    SELECT
        $1, s.id, m.run, s.name, s.kind, s.status, '{}', s.context,
        s.output, s.error, s.started, s.finished, date_trunc('milliseconds', s.started), now()
    FROM json_to_recordset($3::json) AS s (
        id text, worker text, name text, kind text, status text, context jsonb,
        output jsonb, error jsonb, started timestamptz, finished timestamptz
    )
    JOIN mine AS m ON m.worker = s.worker
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        output = excluded.output,
        error = excluded.error,
        finished_at = excluded.finished_at,
        updated_at = excluded.updated_at
    WHERE old.status = 'running' AND excluded.status <> 'running'
),
ripe AS (
    SELECT w.run
    FROM wait AS w
    JOIN locked AS l ON l.id = w.child
    WHERE w.kind = 'workflow' AND l.status IN ('completed', 'succeeded', 'failed', 'canceled')
    UNION ALL
    SELECT w.run
    FROM wait AS w
    JOIN mine AS m ON m.run = w.child AND m.outcome IN ('complete', 'fail')
    WHERE w.kind = 'workflow'
    UNION ALL
    SELECT w.run
    FROM wait AS w
    WHERE w.kind = 'signal-wait' AND EXISTS (
        SELECT FROM {schema}.workflow_signals
        WHERE namespace_id = $1 AND step_attempt_id = w.step
    )
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
        CASE WHEN outcome = 'release' OR run IN (SELECT run FROM ripe) THEN now() ELSE at END,
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
awaited AS (
    -- Locked for its latest state: the link may be younger than this statement's snapshot.
    SELECT DISTINCT p.run
    FROM mine AS m
    JOIN parent AS p ON p.child = m.run
    CROSS JOIN LATERAL (
        SELECT kind, status, child_workflow_run_id AS child
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= p.step AND id <= p.step
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS s
    WHERE s.kind = 'workflow' AND s.status = 'running' AND s.child = p.child
),
woken AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, l.id, '', '', '{}', 0, now(), now()
    FROM awaited AS a
    JOIN locked AS l ON l.id = a.run
    WHERE l.status = 'sleeping' OR (l.status = 'running' AND l.worker_id IS NULL)
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = least(r.available_at, now()), updated_at = now()
),
failure_counted AS (
    INSERT INTO {schema}.owsuper_failures (namespace_id, workflow_run_id)
    SELECT $1, run FROM mine WHERE outcome = 'retry' AND counts
),
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(
        SELECT run FROM mine WHERE outcome IN ('complete', 'fail')
    ))
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(
        SELECT run FROM mine WHERE outcome IN ('complete', 'fail')
    ))
)
SELECT worker, 'false' FROM mine
