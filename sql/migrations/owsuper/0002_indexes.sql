-- The sweep of missed deadlines. Few runs have one, so this index is nearly always empty. (The
-- claim's index is made by a later version.)
CREATE INDEX IF NOT EXISTS owsuper_runs_deadline_idx
    ON {schema}.workflow_runs (namespace_id, deadline_at)
    WHERE deadline_at IS NOT NULL AND status IN ('pending', 'running', 'sleeping');
