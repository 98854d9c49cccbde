-- The runs that were started under a limit with on_conflict, by key: a start must see those that have
-- not ended. A start deletes the rows of those that have; the sweep of ended runs deletes the others.
-- A row says nothing about a place, so one that is left over does no harm.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_conflicts (
    namespace_id text NOT NULL,
    limit_name text NOT NULL,
    key text NOT NULL,
    workflow_run_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, limit_name, key, workflow_run_id)
);

CREATE INDEX IF NOT EXISTS owsuper_conflicts_age_idx
    ON {schema}.owsuper_conflicts (namespace_id, created_at);
