-- Whether the ended run "r" must stay, however old it is: its parent may need its result, its
-- idempotency key still stands for it, it has continued as a run that is there, a run that has not
-- succeeded so far is to undo it, or it is such a run itself and has failed.
--
-- The step of a parent that has not recorded the end of its child run reads the child run: when the
-- parent is executed, or retried.
--
-- Needs: r, a row of workflow_runs. $1 namespace.
-- Index: step_attempts_pkey, workflow_runs_pkey; one row of each.
(
    CASE
        WHEN r.idempotency_key IS NULL THEN false
        WHEN jsonb_typeof(r.context -> 'keyLifetime') = 'number'
            THEN r.created_at >= now()
                - (r.context ->> 'keyLifetime')::double precision * interval '1 second'
        ELSE r.created_at >= now() - interval '24 hours'
    END
    OR EXISTS (
        SELECT
        FROM (
            SELECT namespace_id, workflow_run_id, status
            FROM {schema}.step_attempts
            WHERE namespace_id = r.parent_step_attempt_namespace_id
                AND id >= r.parent_step_attempt_id AND id <= r.parent_step_attempt_id
            ORDER BY id
            LIMIT 1
        ) AS s
        CROSS JOIN LATERAL (
            SELECT status
            FROM {schema}.workflow_runs
            WHERE namespace_id = s.namespace_id
                AND id >= s.workflow_run_id AND id <= s.workflow_run_id
            ORDER BY id
            LIMIT 1
        ) AS p
        WHERE s.status = 'running'
            OR p.status NOT IN ('completed', 'succeeded', 'failed', 'canceled')
    )
    OR EXISTS (
        SELECT
        FROM (
            SELECT id
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1
                AND id >= r.context ->> 'continuedAs' AND id <= r.context ->> 'continuedAs'
            ORDER BY id
            LIMIT 1
        ) AS successor
    )
    OR EXISTS (
        SELECT
        FROM (
            SELECT status
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1
                AND id >= r.context ->> 'undoneBy' AND id <= r.context ->> 'undoneBy'
            ORDER BY id
            LIMIT 1
        ) AS undo
        WHERE status NOT IN ('completed', 'succeeded', 'canceled')
    )
    OR r.status = 'failed' AND r.context ->> 'undoOf' IS NOT NULL
)
