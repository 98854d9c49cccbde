-- Write step attempts and outcomes of several runs, each behind the fence of its own claim.
--
-- Called by: children, RunStore.commit and RunStore.mark_running.
-- $1 namespace, $2 claims and $3 step attempts (JSON arrays), $4 whether to skip the flush to
-- disk.
-- Returns (worker id, related) of every claim that is still good. Of a related claim nothing is
-- written: its run ends and has a parent to wake, which commit_related does. One statement for
-- both would take half as long again for the other runs.
--
-- Index: workflow_runs_pkey, step_attempts_pkey, the primary keys of our own tables.
-- Locks: the runs, FOR NO KEY UPDATE, in id order. All statements lock runs in id order, so they
-- do not deadlock. If another session holds a lock for longer than a second, this fails, and the
-- caller can retry the other runs without that run.
--
-- Times that a child counted on from its claim are never later than this commit: a run must not
-- have ended before its steps.
--
-- For owsuper.few_results see the result trigger; 64 runs at most. The failures and crashes
-- counted of a run are deleted when it ends, except at its first claim, when nothing has been
-- counted.
--
-- "id >= x AND id <= x ORDER BY id LIMIT 1" is "id = x" in a form that only the primary key can
-- serve. For the plain form, all indexes that begin with namespace_id cost the same while a table
-- is empty, and a plan made then is kept when the table has grown. For the same reason rows are
-- updated by INSERT ... ON CONFLICT, which always finds them through the primary key. The row is
-- locked, so it exists and nothing is inserted.
WITH asked AS (
    SELECT *
    FROM json_to_recordset($2::json) AS a (
        worker text, run text, outcome text, at timestamptz,
        output jsonb, error jsonb, counts boolean, first boolean
    )
    WHERE (SELECT set_config('owsuper.few_results', 'on', true)) = 'on'
        AND (SELECT set_config('lock_timeout', '1s', true)) = '1s'
        AND (NOT $4::boolean OR (SELECT set_config('synchronous_commit', 'off', true)) = 'off')
    ORDER BY run
),
held AS MATERIALIZED (
    SELECT a.*, a.outcome IN ('complete', 'fail') AND r.parent IS NOT NULL AS related
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT status, worker_id, parent_step_attempt_id AS parent
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= a.run AND id <= a.run
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
    WHERE r.status = 'running' AND r.worker_id = a.worker
),
mine AS (
    SELECT * FROM held WHERE related IS NOT TRUE
),
step_written AS (
    INSERT INTO {schema}.step_attempts AS old (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, context,
        output, error, started_at, finished_at, created_at, updated_at
    )
    SELECT
        $1, s.id, m.run, s.name, s.kind, s.status, '{}', s.context,
        s.output, s.error, least(s.started, now()),
        CASE WHEN s.finished > now() THEN now() ELSE s.finished END,
        date_trunc('milliseconds', least(s.started, now())), now()
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
        CASE outcome WHEN 'release' THEN now() ELSE at END,
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
failure_counted AS (
    INSERT INTO {schema}.owsuper_failures (namespace_id, workflow_run_id)
    SELECT $1, run FROM mine WHERE outcome = 'retry' AND counts
),
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(
        SELECT run FROM mine WHERE outcome IN ('complete', 'fail') AND first IS NOT TRUE
    ))
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(
        SELECT run FROM mine WHERE outcome IN ('complete', 'fail') AND first IS NOT TRUE
    ))
)
SELECT worker, (related IS TRUE)::text FROM held
