-- What a retry by a client sets aside, so that it no longer counts and can still be looked at. No
-- worker reads these tables, and OpenWorkflow for TypeScript does not know them.
--
-- One row per retry of a run, with the failure that it had then.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_retries (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    retried_at timestamptz NOT NULL DEFAULT now(),
    failed_at timestamptz,
    error jsonb,
    PRIMARY KEY (namespace_id, workflow_run_id, retried_at)
);

-- One row per failed step attempt. In step_attempts, each would be a used retry of its step and
-- count towards the step limit, in every implementation.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_retried_attempts (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    id text NOT NULL,
    retried_at timestamptz NOT NULL DEFAULT now(),
    step_name text NOT NULL,
    kind text NOT NULL,
    context jsonb,
    error jsonb,
    child_workflow_run_namespace_id text,
    child_workflow_run_id text,
    started_at timestamptz,
    finished_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, workflow_run_id, id)
);

-- A child run loses its link to a step attempt that is set aside.
CREATE INDEX IF NOT EXISTS owsuper_retried_attempts_child_idx
    ON {schema}.owsuper_retried_attempts (namespace_id, child_workflow_run_id)
    WHERE child_workflow_run_id IS NOT NULL;
