-- Start the successor of a run that continues as new.
--
-- Called by: children, RunStore.commit, in one transaction with commit, which then completes the run.
-- $1 namespace, $2 run id, $3 worker id (the fence), $4 the successor (JSON object).
-- Returns the id of the successor; no row if the fence does not hold.
--
-- The successor has the idempotency key, the deadline and the parent of the run. The parent's step
-- waits for the successor from now on, also if a worker of another implementation executes the
-- parent. Each of the two runs names the other in its context, which other implementations ignore.
--
-- Index: workflow_runs_pkey, step_attempts_pkey.
-- Locks: the run, FOR NO KEY UPDATE, and no other run; then the parent's step attempt.
-- For the form of the conditions see commit.
WITH run AS MATERIALIZED (
    SELECT
        id, status, worker_id, idempotency_key, config, context, deadline_at,
        parent_step_attempt_namespace_id AS parent_namespace, parent_step_attempt_id AS parent
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
),
successor AS MATERIALIZED (
    SELECT
        r.id AS before, r.idempotency_key, r.deadline_at, r.parent_namespace, r.parent,
        r.config, r.context, a.*
    FROM run AS r
    CROSS JOIN json_to_record($4::json) AS a (id text, name text, version text, input jsonb)
    WHERE r.status = 'running' AND r.worker_id = $3
),
started AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, idempotency_key, config, context, input,
        attempts, parent_step_attempt_namespace_id, parent_step_attempt_id, available_at,
        deadline_at, created_at, updated_at
    )
    SELECT
        $1, id, name, version, 'pending', idempotency_key, config,
        jsonb_strip_nulls(jsonb_build_object(
            'traceContext', context -> 'traceContext',
            'continuedFrom', before,
            'firstRun', coalesce(context ->> 'firstRun', before)
        )),
        input, 0, parent_namespace, parent, now(),
        deadline_at, date_trunc('milliseconds', now()), now()
    FROM successor
    ON CONFLICT (namespace_id, id) DO NOTHING
),
linked AS (
    INSERT INTO {schema}.step_attempts AS s (
        namespace_id, id, workflow_run_id, step_name, kind, status, config,
        child_workflow_run_namespace_id, child_workflow_run_id, created_at, updated_at
    )
    SELECT parent_namespace, parent, '', '', 'workflow', '', '{}', $1, id, now(), now()
    FROM successor
    WHERE parent IS NOT NULL
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET child_workflow_run_namespace_id = excluded.child_workflow_run_namespace_id,
        child_workflow_run_id = excluded.child_workflow_run_id,
        updated_at = excluded.updated_at
    WHERE s.status = 'running' AND s.kind = 'workflow'
        AND (s.child_workflow_run_id IS NULL OR s.child_workflow_run_id = $2)
),
named AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at, context
    )
    SELECT
        $1, before, '', '', '{}', 0, now(), now(),
        CASE WHEN jsonb_typeof(context) = 'object' THEN context ELSE '{}' END
            || jsonb_build_object('continuedAs', id)
    FROM successor
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET context = excluded.context, updated_at = excluded.updated_at
)
SELECT id FROM successor
