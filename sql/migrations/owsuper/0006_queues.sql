-- The claim reads the runs that nobody owns, of given workflows, in order of their due time: those
-- that were never begun and those that were. Runs that ended have no due time, and a lease is not
-- a due time: what a claim takes leaves this index, and neither leases nor their renewals, of
-- which there are many, leave anything behind in it.
--
-- The version is part of it, lest the backlog of a version that nobody serves any more stand
-- before that of the next. NULLS FIRST (there are no NULLs in it) makes its order one that no
-- other index has: a claim that asks for this order is answered by this index or not at all.
CREATE INDEX IF NOT EXISTS owsuper_runs_queue_idx
    ON {schema}.workflow_runs (
        namespace_id, workflow_name, (coalesce(version, '')), (status <> 'pending'),
        available_at NULLS FIRST
    )
    WHERE worker_id IS NULL AND available_at IS NOT NULL
        AND status IN ('pending', 'running', 'sleeping');

-- What did the same with the leases in it.
DROP INDEX IF EXISTS {schema}.owsuper_runs_due_idx;
