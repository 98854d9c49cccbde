-- The step attempts that wait for a signal, in the order in which they began to wait: the inbox of the
-- dashboard, page by page. OpenWorkflow's own index of them is ordered by signal alone, so a page of
-- a million waits would read and sort a million rows.
--
-- Only waits for signals are in it. Other step attempts have only its condition checked, and a wait
-- leaves it when it ends.
CREATE INDEX IF NOT EXISTS owsuper_signal_waits_idx
    ON {schema}.step_attempts (namespace_id, created_at, id)
    WHERE kind = 'signal-wait' AND status = 'running';
