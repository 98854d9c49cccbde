-- Store how far runs are.
--
-- Called by: children, ReportStore.store_progress, from a thread of their own.
-- $1 namespace, $2 progress of runs (JSON array, each run once).
-- Returns nothing. Runs that do not exist are left out: nobody would delete their rows.
-- The flush to disk is skipped: the next value follows soon.
--
-- Index: workflow_runs_pkey, owsuper_progress_pkey.
-- Locks: the rows of progress, in the order of the runs. None on runs. For the form of the conditions
-- see commit.
INSERT INTO {schema}.owsuper_progress (
    namespace_id, workflow_run_id, done, total, message, step, updated_at
)
SELECT $1, p.run, p.done, p.total, p.message, p.step, now()
FROM (
    SELECT *
    FROM json_to_recordset($2::json) AS p (
        run text, done double precision, total double precision, message text, step text
    )
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    ORDER BY run
) AS p
CROSS JOIN LATERAL (
    SELECT
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= p.run AND id <= p.run
    ORDER BY id
    LIMIT 1
) AS r
ON CONFLICT (namespace_id, workflow_run_id) DO UPDATE
SET done = excluded.done,
    total = excluded.total,
    message = excluded.message,
    step = excluded.step,
    updated_at = excluded.updated_at
