-- Start the successor of a run that continues as new.
--
-- Called by: children, RunStore.commit, in one transaction with commit, which then completes the run.
-- $1 namespace, $2 run id, $3 worker id (the fence), $4 the successor (JSON object).
-- Returns (id of the successor, whether a parent may be reading the run); no row if the fence does
-- not hold. In the second case the transaction must be rolled back and repeated later.
--
-- The successor has the idempotency key, the deadline, the parent, the priority and the attributes of
-- the run, and none of its undos; the keys of its limits are its own. The parent's step waits for the
-- successor from now on, also if a worker of another implementation executes the parent. Each of the
-- two runs names the other in its context, which other implementations ignore.
--
-- OpenWorkflow for TypeScript reads which child run a step waits for, and then that child run. If
-- this one were completed in between, its null would be the result of the step. So while another
-- implementation has begun to execute the parent, or the step, within the last 3 s, a parent may be
-- reading. Its worker ids have no colon. The lock on the parent keeps others from claiming it.
--
-- Index: workflow_runs_pkey, step_attempts_pkey, owsuper_run_attributes_pkey.
-- Locks: the run, FOR NO KEY UPDATE; the parent, FOR KEY SHARE if nobody holds it, so that no lock
-- of another run is waited for; then the parent's step attempt.
-- For the form of the conditions see commit.
WITH run AS MATERIALIZED (
    SELECT
        id, status, worker_id, idempotency_key, context, deadline_at,
        CASE
            WHEN config -> 'owsuper' IS NULL THEN config
            ELSE config #- '{owsuper,keys}' #- '{owsuper,limited}' #- '{owsuper,undo}'
        END AS config,
        parent_step_attempt_namespace_id AS parent_namespace, parent_step_attempt_id AS parent
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
),
waiting AS MATERIALIZED (
    SELECT a.namespace_id, a.workflow_run_id AS id, a.created_at
    FROM run AS r
    CROSS JOIN LATERAL (
        SELECT namespace_id, workflow_run_id, status, created_at
        FROM {schema}.step_attempts
        WHERE namespace_id = r.parent_namespace AND id >= r.parent AND id <= r.parent
        ORDER BY id
        LIMIT 1
    ) AS a
    WHERE a.status = 'running'
),
parent AS MATERIALIZED (
    SELECT p.worker_id, greatest(p.updated_at, w.created_at) AS begun_at
    FROM waiting AS w
    CROSS JOIN LATERAL (
        SELECT worker_id, updated_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = w.namespace_id AND id >= w.id AND id <= w.id
        ORDER BY id
        LIMIT 1
        FOR KEY SHARE SKIP LOCKED
    ) AS p
),
successor AS MATERIALIZED (
    SELECT
        r.id AS before, r.idempotency_key, r.deadline_at, r.parent_namespace, r.parent,
        CASE
            WHEN a.config IS NULL THEN r.config
            ELSE r.config || jsonb_build_object(
                'owsuper', coalesce(r.config -> 'owsuper', '{}') || (a.config -> 'owsuper')
            )
        END AS config,
        r.context, a.id, a.name, a.version, a.input
    FROM run AS r
    CROSS JOIN json_to_record($4::json) AS a (
        id text, name text, version text, config jsonb, input jsonb
    )
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
            'firstRun', coalesce(context ->> 'firstRun', before),
            'keyLifetime', context -> 'keyLifetime'
        )),
        input, 0, parent_namespace, parent, {fragments/due_by_priority},
        deadline_at, date_trunc('milliseconds', now()), now()
    FROM successor
    ON CONFLICT (namespace_id, id) DO NOTHING
    RETURNING id, created_at
),
described AS (
    INSERT INTO {schema}.owsuper_run_attributes (
        namespace_id, workflow_run_id, name, value, run_created_at
    )
    SELECT $1, s.id, o.name, o.value, s.created_at
    FROM started AS s
    CROSS JOIN LATERAL (
        SELECT name, value
        FROM {schema}.owsuper_run_attributes
        WHERE namespace_id = $1 AND workflow_run_id >= $2 AND workflow_run_id <= $2
        ORDER BY workflow_run_id, name
        OFFSET 0
    ) AS o
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
SELECT
    id,
    EXISTS (SELECT FROM waiting) AND NOT EXISTS (
        SELECT FROM parent
        WHERE worker_id IS NULL OR position(':' IN worker_id) > 0
            OR begun_at < now() - interval '3 seconds'
    )
FROM successor
