-- How far a run is, as its code last said.
--
-- Called by: clients, ReportQueries.progress. $1 namespace, $2 run id.
-- A run whose code has not said it gives one row of NULLs; an unknown run gives no row.
--
-- Index: workflow_runs_pkey, owsuper_progress_pkey. Locks: none.
SELECT p.done, p.total, p.message, p.step, p.updated_at
FROM
{fragments/known_run}
LEFT JOIN {schema}.owsuper_progress AS p ON p.namespace_id = $1 AND p.workflow_run_id = $2
