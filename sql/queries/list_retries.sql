-- The retries of a run by clients, oldest first.
--
-- Called by: clients, ListQueries.retries. $1 namespace, $2 run id.
-- A run without retries gives one row of NULLs; an unknown run gives no row.
--
-- Index: workflow_runs_pkey, the primary key of our own table. Locks: none.
SELECT t.retried_at, t.failed_at, t.error::text, t.status, t.from_step, t.output::text
FROM
{fragments/known_run}
LEFT JOIN {schema}.owsuper_retries AS t
    ON t.namespace_id = $1 AND t.workflow_run_id = $2
ORDER BY t.retried_at
