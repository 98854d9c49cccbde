-- Link a step attempt that waits for a child run to the run that names it as its parent; start the
-- child run if there is none. (OpenWorkflow for TypeScript stores attempt, run and link one after
-- the other, and may die in between.)
--
-- Called by: children, RelatedStore.adopt, in one transaction with start_lock.
-- $1 namespace, $2 run id, $3 worker id (the fence), $4 id of the step attempt, $5 the run to
-- start (JSON array of one), $6 its idempotency key.
-- Returns the columns of look for the child run; no row if the fence does not hold or the attempt
-- has ended.
--
-- Index: primary keys, workflow_runs_parent_step_idx. Locks: the run, FOR NO KEY UPDATE.
-- For the form of the conditions see commit.
WITH {fragments/own_step},
found AS MATERIALIZED (
    SELECT c.id, c.status, c.output, c.error, c.finished_at
    FROM {schema}.workflow_runs AS c
    WHERE c.parent_step_attempt_namespace_id = $1 AND c.parent_step_attempt_id = $4
        AND EXISTS (SELECT FROM mine)
    ORDER BY c.created_at, c.id
    LIMIT 1
),
started AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, idempotency_key, config, context, input,
        attempts, parent_step_attempt_namespace_id, parent_step_attempt_id,
        available_at, created_at, updated_at
    )
    SELECT
        $1, a.id, a.name, a.version, 'pending', $6, coalesce(a.config, '{}'), a.context,
        a.input, 0, $1, $4, {fragments/due_by_priority}, date_trunc('milliseconds', now()), now()
    FROM json_to_recordset($5::json) AS a (
        id text, name text, version text, context jsonb, config jsonb, input jsonb
    )
    WHERE EXISTS (SELECT FROM mine) AND NOT EXISTS (SELECT FROM found)
    RETURNING id, status, output, error, finished_at
),
child AS (
    SELECT * FROM found UNION ALL SELECT * FROM started
),
linked AS (
    INSERT INTO {schema}.step_attempts AS s (
        namespace_id, id, workflow_run_id, step_name, kind, status, config,
        child_workflow_run_namespace_id, child_workflow_run_id, created_at, updated_at
    )
    SELECT $1, $4, $2, '', 'workflow', '', '{}', $1, id, now(), now() FROM child
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET child_workflow_run_namespace_id = excluded.child_workflow_run_namespace_id,
        child_workflow_run_id = excluded.child_workflow_run_id,
        updated_at = excluded.updated_at
    WHERE s.status = 'running'
)
SELECT id, status, output::text, error::text, finished_at, NULL, NULL FROM child
