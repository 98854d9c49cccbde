-- Runs that a worker of another implementation claimed although it does not know their workflow,
-- and put back for later. There are none where all workers claim only what they know.
CREATE INDEX IF NOT EXISTS owsuper_runs_bounced_idx
    ON {schema}.workflow_runs (namespace_id, workflow_name)
    WHERE status = 'pending' AND worker_id IS NULL
        AND (error ->> 'message') LIKE 'Workflow "% is not registered';
