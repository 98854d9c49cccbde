-- What owsuper keeps beside OpenWorkflow's tables. Nothing here refers to them by a foreign
-- key, so that they stay exactly as their own migrations left them; rows are deleted when
-- their run ends.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_migrations (
    version bigint NOT NULL PRIMARY KEY
);

-- One row per failure of a workflow's body that was retried. workflow_runs.attempts counts
-- claims, of which wake-ups and crashes are some, so it cannot serve as a retry budget.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_failures (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, workflow_run_id, at)
);

-- One row per run that a process held when it died. "alone" says that it held no other: only
-- then the run is known to be the cause.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_crashes (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    crash_id text NOT NULL,
    alone boolean NOT NULL,
    evidence jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, workflow_run_id, crash_id)
);
