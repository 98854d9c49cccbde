-- The three foreign keys, not yet validated: existing rows are checked by the next version,
-- under a weaker lock. ADD CONSTRAINT has no IF NOT EXISTS, hence the questions.
DO $migration$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = '{schema}.step_attempts'::regclass
          AND conname = 'step_attempts_workflow_run_fk'
    ) THEN
        ALTER TABLE {schema}.step_attempts
            ADD CONSTRAINT step_attempts_workflow_run_fk
            FOREIGN KEY (namespace_id, workflow_run_id)
            REFERENCES {schema}.workflow_runs (namespace_id, id)
            ON DELETE CASCADE
            NOT VALID;
    END IF;

    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = '{schema}.workflow_runs'::regclass
          AND conname = 'workflow_runs_parent_step_attempt_fk'
    ) THEN
        ALTER TABLE {schema}.workflow_runs
            ADD CONSTRAINT workflow_runs_parent_step_attempt_fk
            FOREIGN KEY (parent_step_attempt_namespace_id, parent_step_attempt_id)
            REFERENCES {schema}.step_attempts (namespace_id, id)
            ON DELETE SET NULL
            NOT VALID;
    END IF;

    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint
        WHERE conrelid = '{schema}.step_attempts'::regclass
          AND conname = 'step_attempts_child_workflow_run_fk'
    ) THEN
        ALTER TABLE {schema}.step_attempts
            ADD CONSTRAINT step_attempts_child_workflow_run_fk
            FOREIGN KEY (child_workflow_run_namespace_id, child_workflow_run_id)
            REFERENCES {schema}.workflow_runs (namespace_id, id)
            ON DELETE SET NULL
            NOT VALID;
    END IF;
END
$migration$;
