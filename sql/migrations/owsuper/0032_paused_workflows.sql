-- Workflows that are paused: no worker of the namespace claims runs of them, in whichever version.
-- A row is written before the notification that tells the workers, in the same transaction.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_paused_workflows (
    namespace_id text NOT NULL,
    workflow_name text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    paused_by text,
    reason text,
    PRIMARY KEY (namespace_id, workflow_name)
);
